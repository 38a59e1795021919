"""Every copy of a person in photo folders, galleries and vector stores: found, deleted once accepted, and looked for in
the raw bytes afterwards."""
