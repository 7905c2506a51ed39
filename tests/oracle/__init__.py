"""Conversations on which headroom.compress() itself says what is right."""
