"""Forecasts of patients, and their accuracy."""
