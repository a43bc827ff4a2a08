"""Claims of the room `models`."""
