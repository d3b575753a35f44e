"""Several workers over one journal in PostgreSQL."""
