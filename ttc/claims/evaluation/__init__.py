"""Claims of the room `evaluation`."""
