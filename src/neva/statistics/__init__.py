"""Intervals, calibration and other statistics that more than one subject needs."""
