"""Conversations for which headroom.compress() itself gives the expected result."""
