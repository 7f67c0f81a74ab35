"""What to do next: rules, cards, models, CDS Hooks, replay."""
