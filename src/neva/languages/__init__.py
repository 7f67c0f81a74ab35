"""One way to write a text, a number, a share, a time: English and Russian."""
