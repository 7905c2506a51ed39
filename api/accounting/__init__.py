"""The ledger: what was saved, for whom, at what price, and how well the farm runs."""
