"""Neva: what a hospital already records, turned into decisions."""
