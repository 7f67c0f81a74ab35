"""Background tasks: a process of its own that leaves results; it knows no HTTP."""
