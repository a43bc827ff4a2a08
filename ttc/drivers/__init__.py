"""What scripts share: flags, clean exits, journals, and the long runs."""
