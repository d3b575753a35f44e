"""Reads payouts from CSV, JSON Lines, workbooks and ISO 20022: orders, or what is wrong."""

from .columns import ALIASES
from .payout_file import PayoutFile
from .rows import FileRow, Problem

__all__ = ["ALIASES", "FileRow", "PayoutFile", "Problem"]
