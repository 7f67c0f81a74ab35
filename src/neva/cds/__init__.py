"""What a record system meets: CDS Hooks, the record that it sends, its tokens and servers."""
