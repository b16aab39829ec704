"""Fewer and more even coordinates: which of them travel, and the rotations that spread what travels."""
