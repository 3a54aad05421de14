"""Text for people and shells: escaping, quoting, names that are not UTF-8."""
