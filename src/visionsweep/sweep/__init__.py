"""The runs of one command: session, launchers, progress."""
