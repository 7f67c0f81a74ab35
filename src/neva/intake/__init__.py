"""Rows into the store, whoever brings them: a file, a feed, a form."""
