"""How bytes come in: over HTTP, checked on arrival, and kept under the name of their own digest."""
