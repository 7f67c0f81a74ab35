"""The web server: parses requests, calls, answers; only the command line imports it."""
