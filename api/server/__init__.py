"""Gunicorn's side: the server, its processes, their connections and their end."""
