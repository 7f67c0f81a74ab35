"""Simulation of scenarios: the hospital patient by patient, with beds."""
