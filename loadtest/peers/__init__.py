"""Services to measure the farm against."""
