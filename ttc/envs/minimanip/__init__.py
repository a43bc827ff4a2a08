"""Manipulation in closed forms: the counterpart of Meta-World."""
