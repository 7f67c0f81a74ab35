"""The OMOP common data model, 5.3 and 5.4, as rows."""
