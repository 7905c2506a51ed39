"""Test material and load drivers: real tool output, growing sessions, benchmarks."""
