"""The engine for a whole hospital: definitions as queries."""
