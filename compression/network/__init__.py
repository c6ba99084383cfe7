"""A classifier as one canonical graph: traced or read from a file, and queries of it."""
