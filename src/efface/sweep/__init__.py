"""Every copy of a person in the stores of an organisation: found, accepted by a human, deleted, and verified."""
