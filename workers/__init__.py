"""The worker pools: what runs headroom's engines."""
