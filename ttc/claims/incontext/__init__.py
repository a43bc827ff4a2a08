"""Claims about models that learn inside their context."""
