"""Attention of many samples over one shared prompt and their own suffixes."""

from ttc.kernels.shared_prefix_attention.api import shared_prefix_attention
from ttc.kernels.shared_prefix_attention.cascade import attend_to_prompt

__all__ = ['attend_to_prompt', 'shared_prefix_attention']
