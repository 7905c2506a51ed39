"""The ledger: tokens and cost saved by user and model, prices, reports, and metrics."""
