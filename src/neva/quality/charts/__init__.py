"""Change over time: control charts, run charts and what they say."""
