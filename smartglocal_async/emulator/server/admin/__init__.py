"""The page and the API by which a person or a test looks into a running emulator and acts on it."""
