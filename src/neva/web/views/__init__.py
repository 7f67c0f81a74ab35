"""The pages: each a function from what was asked to a view of plain data."""
