"""The synthetic hospital: invented patients with a known truth."""
