"""Vega-Lite drawings as SVG."""
