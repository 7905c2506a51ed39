"""Measures what a reader still has of a tool result: in sight, behind a marker, lost, made up."""
