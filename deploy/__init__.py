"""Running the farm: the command line, the local supervisor, images and manifests."""
