"""VisionSweep: which pretrained model, how much data and how much training work best here."""

__version__ = "0.1.0"
