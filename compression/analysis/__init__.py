"""Questions about finished files: sensitivity, layers, comparison, devices, energy."""
