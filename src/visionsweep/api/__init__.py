"""The package from Python: sweeps, their results as tables, and trained models."""
