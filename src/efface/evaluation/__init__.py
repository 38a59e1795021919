"""What models predict, and every measure of it."""
