"""Load material and drivers: real tool output, growing sessions, benchmarks."""
