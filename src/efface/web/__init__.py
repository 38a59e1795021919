"""A local page for whoever answers requests: queue, uploads, review, run, verdict, record and letter."""
