"""Payouts: what a journal costs, a batch takes as it grows, and a check of a file takes."""
