"""Migrations of the tables of the state, one step per file."""
