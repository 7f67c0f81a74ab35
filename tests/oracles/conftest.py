"""Oracles run in environments of their own; collecting their doctests would import them."""

collect_ignore = ["pm4py_numbers.py"]
