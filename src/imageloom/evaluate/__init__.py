"""Measures a classifier on pictures it has not seen, and shows it."""
