"""Reports about payouts."""
