"""Faces in memory: their table, groups, splits and batches."""
