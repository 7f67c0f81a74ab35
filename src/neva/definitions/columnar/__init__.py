"""The engine for many points of the same patients."""
