"""The checker of any CDS Hooks service, ours or another's; it knows no rules."""
