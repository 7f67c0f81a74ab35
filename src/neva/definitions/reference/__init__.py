"""The engine for one patient, written to be read: the oracle of the others."""
