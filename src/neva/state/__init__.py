"""The application's own database: rules' states, cards, feedback, tokens, audit."""
