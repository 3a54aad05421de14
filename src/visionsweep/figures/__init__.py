"""Figures of what a model gets wrong."""
