"""Which single weights a network can do without: patterns, importance, and the choice of all of them together."""
