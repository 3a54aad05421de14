"""The built-in data set: rendered scenes of pizza, steak and sushi."""
