"""Files of runs on other machines: what goes there as a zip, and the one file `probe.py` that measures there."""
