"""What remains of a run: its record, its events for TensorBoard, and how both are read back."""
