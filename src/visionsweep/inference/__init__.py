"""Rebuild the model of a run; predict, evaluate and explain with it."""
