"""Claims of the room `scaling`."""
