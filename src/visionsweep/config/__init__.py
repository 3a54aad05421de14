"""The settings of an experiment: the schema, what is refused, and overrides."""
