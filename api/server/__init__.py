"""The server: gunicorn's processes, their connections and their shutdown."""
