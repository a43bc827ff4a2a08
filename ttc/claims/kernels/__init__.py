"""Claims of the room `kernels`."""
