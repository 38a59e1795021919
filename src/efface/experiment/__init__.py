"""A plan carried out: data loaded, models made and kept, shadows, results."""
