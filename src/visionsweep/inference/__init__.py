"""Rebuild trained models; predict, evaluate, and explain with them."""
