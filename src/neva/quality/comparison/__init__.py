"""Units and hospitals against each other, with what they could not choose taken into account."""
