"""The provider's bill for whole sessions of coding agents, with the farm and with its peers."""
