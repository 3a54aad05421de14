"""From a name to a network: a pretrained backbone, and a new head on it."""
