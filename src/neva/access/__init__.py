"""The viewer, and the one place where a pseudonym becomes a name."""
