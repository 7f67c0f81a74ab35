"""Where patients go, how long they stay."""
