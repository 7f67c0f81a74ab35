"""What if: the hospital drawn patient by patient, with beds."""
