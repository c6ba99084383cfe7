"""Weight sharing: codebooks."""
