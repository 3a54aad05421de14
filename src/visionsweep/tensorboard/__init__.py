"""TensorBoard: a run's events, the Projector, and the server."""
