"""Claims about classifiers that adapt while they are used."""
