"""A first mapping of a table, proposed from its columns and values."""
