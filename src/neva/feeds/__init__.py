"""Live feeds: messages taken from a hospital's own systems, none lost, none applied twice."""
