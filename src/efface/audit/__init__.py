"""Attacks, relearning and verdicts."""
