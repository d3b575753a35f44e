"""Files of payouts, CSV or JSON Lines, read a row at a time: orders, and what is wrong where."""

from .columns import ALIASES
from .file import PayoutFile
from .rows import FileRow, Problem

__all__ = ["ALIASES", "FileRow", "PayoutFile", "Problem"]
