"""Networks as torch modules whose state_dicts have their publishers' names."""
