"""What a clinician-analyst writes, its frozen model, and the engines that run it."""
