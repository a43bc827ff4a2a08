"""Claims of the room `strategies`."""
