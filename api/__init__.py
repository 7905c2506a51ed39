"""The front end: HTTP in, the compressed conversation out."""
