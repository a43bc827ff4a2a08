"""Attention of a few queries to a long cache."""

from ttc.kernels.decode_attention.api import decode_attention

__all__ = ['decode_attention']
