"""Attention of many samples over one shared prompt and their own suffixes."""

from ttc.kernels.shared_prefix_attention.api import shared_prefix_attention

__all__ = ['shared_prefix_attention']
