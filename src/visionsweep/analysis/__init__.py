"""What outcomes say and how surely: metrics, intervals, comparisons. NumPy and SciPy, no torch."""
