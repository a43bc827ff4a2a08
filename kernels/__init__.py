"""Attention kernels, imported as `ttc.kernels`; one folder per operation."""
