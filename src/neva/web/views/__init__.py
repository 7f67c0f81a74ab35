"""The pages: each a function from a request to a view of plain data."""
