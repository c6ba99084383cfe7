"""A classifier as one canonical graph: traced or read from a file, with what can be asked of it."""
