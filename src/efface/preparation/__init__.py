"""Photos on disk become packed faces."""
