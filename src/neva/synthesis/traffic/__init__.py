"""What the synthetic hospital's systems tell each other: statements, disorder, segments."""
