"""Was the treatment good: measures, charts over time, comparison of units."""
