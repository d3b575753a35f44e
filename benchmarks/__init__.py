"""What a call costs: ratios between contenders that take turns in one run; no timed tests."""
