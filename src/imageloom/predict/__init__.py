"""Names what is on pictures, from the command line."""
