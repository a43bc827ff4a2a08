"""Claims of papers, one file each: `reproduce(num_seeds)` returns its row."""
