"""Fields of medicine: definitions, codelists and guidance, each in its folder."""
