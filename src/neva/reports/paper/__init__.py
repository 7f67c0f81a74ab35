"""Sheets for A4."""
