"""Claims of the room `search`."""
