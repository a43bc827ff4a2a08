"""Claims of the room `sampling`."""
