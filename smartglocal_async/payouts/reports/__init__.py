"""Reports about payouts and payments."""
