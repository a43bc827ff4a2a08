"""Claims about searches over noise."""
