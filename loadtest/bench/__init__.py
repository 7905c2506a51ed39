"""The benchmark: this farm and its peers side by side, `python -m loadtest.bench`."""
