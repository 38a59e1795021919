"""Eyes hidden on photos, and how much of them that hid."""
