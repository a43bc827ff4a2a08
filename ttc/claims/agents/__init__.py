"""Claims about agents that learn in environments."""
