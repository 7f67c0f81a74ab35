"""What a security reviewer reads: who may see what, signing in, forms, headers, connections."""
