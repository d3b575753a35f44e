"""Frozen records of the API's nouns; no I/O, no JSON."""
