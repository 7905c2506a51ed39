"""What runs a worker's queue: jobs, leases, heartbeats, time limits, delivery."""
