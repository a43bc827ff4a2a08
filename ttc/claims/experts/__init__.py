"""Claims about re-routing mixtures of experts."""
