"""Figures of what a model gets wrong, drawn with Pillow."""
