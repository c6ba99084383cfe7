"""A recipe becomes a file, and a file becomes a measurement."""
