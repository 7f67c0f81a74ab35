"""What the worker computes for pages: functions from a hospital to plain data."""
