"""Attention of single queries to chosen blocks of a long cache."""

from ttc.kernels.block_sparse_attention.api import block_sparse_attention

__all__ = ['block_sparse_attention']
