"""Recovery: training of the compressed network under its masks and grids."""
