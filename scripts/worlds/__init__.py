"""Worlds that methods are compared on, one file each with `build(...)`."""
