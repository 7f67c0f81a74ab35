"""Comparison of units and hospitals, adjusted for their case mix and size."""
