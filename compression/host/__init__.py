"""This machine: the user's folder, atomic files, the processor, locks, and the engine's version."""
