"""The outside world as rows, and back."""
