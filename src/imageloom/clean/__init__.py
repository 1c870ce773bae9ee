"""Finds what is wrong with the pictures, and marks it."""
