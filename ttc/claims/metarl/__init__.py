"""Claims about what is learned over many lives."""
