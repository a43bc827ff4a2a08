"""Attention of whole sequences, each token to itself and those before it."""

from ttc.kernels.causal_attention.api import causal_attention

__all__ = ['causal_attention']
