"""Ways out of a hospital: rows, FHIR, MEDS, XES."""
