"""FHIR R4: resources, bundles, histories and bulk exports as rows."""
