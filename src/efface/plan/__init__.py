"""What to run: the tables of a plan and its TOML file."""
