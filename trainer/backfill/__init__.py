"""The state as of now, from history: so that a new installation does not start cold."""
