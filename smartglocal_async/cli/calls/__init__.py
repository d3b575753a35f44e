"""The commands that make one call each."""
