"""ttc: test-time compute in JAX."""
