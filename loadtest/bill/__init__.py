"""What a provider bills for whole sessions of coding agents, with the farm and with its peers."""
