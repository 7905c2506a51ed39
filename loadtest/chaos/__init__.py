"""Faults and overload against a real farm under steady load: `python -m loadtest.chaos`."""
