"""The store: schema, codes, clock, hospital, checks."""
