"""The books: what was saved, for whom, and how well the farm runs."""
