"""Measurements and analyses as frozen data."""
