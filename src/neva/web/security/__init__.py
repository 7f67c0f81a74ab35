"""Security: access, signing in, forms, headers, connections."""
