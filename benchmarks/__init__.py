"""What a call costs: ratios between clients that take turns in one run; no timed tests."""
