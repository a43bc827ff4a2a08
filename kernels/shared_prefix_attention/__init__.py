"""Attention of many samples over one shared prompt and their own suffixes."""

from ttc.kernels.shared_prefix_attention.api import shared_prefix_attention
from ttc.kernels.shared_prefix_attention.reference import (
  Segment,
  merge_partials,
)

__all__ = ['Segment', 'merge_partials', 'shared_prefix_attention']
