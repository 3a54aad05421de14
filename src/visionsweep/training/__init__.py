"""Train a head or a whole network, from its seeds or from a checkpoint."""
