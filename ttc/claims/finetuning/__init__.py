"""Claims of the room `finetuning`."""
