"""The request's way, step by step; nothing here knows HTTP."""
