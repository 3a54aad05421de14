"""A run's model as a file that other programs run, verified, with a model card."""
