"""The interface to record systems: CDS Hooks, the record that they send, tokens and servers."""
