"""One way to say a text, a number, a share, a time: English and Russian."""
