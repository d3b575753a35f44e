"""A journal in PostgreSQL: for many processes and machines, by leases with fences."""

from .journal import PostgresJournal

__all__ = ["PostgresJournal"]
