"""Feeds that are asked for what is new: a folder, a database, a FHIR server."""
