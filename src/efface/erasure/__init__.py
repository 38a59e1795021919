"""A request arrives: people are erased from somebody's own model, and what was done is answered for."""
