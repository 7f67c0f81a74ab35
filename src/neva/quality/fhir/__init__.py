"""FHIR Measure and MeasureReport, both ways."""
