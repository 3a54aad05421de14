"""Metrics, confidence intervals and comparisons of predictions. NumPy and SciPy, no torch."""
