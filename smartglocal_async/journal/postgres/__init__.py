"""A journal in PostgreSQL for many processes and machines, with leases and fences."""

from .journal import PostgresJournal

__all__ = ["PostgresJournal"]
