"""The web door: parses requests, calls, answers; nobody imports it but the command line."""
