"""The worker pools: processes that run headroom's engines."""
