"""Claims of the room `verifiers`."""
