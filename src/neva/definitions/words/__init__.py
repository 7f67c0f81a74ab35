"""What a definition says, in English and Russian."""
