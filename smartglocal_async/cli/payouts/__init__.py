"""The group ``payouts``: many payouts, out of a file or a shared journal."""
