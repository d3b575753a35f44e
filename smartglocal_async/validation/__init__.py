"""Checks requests by the rules of the provider's pages, of standards, and of code lists."""

from .checks import Broken
from .extras import is_nearly, misspelt_fields, misspelt_kind
from .identifiers import is_ruined
from .rules import RuleChecker, broken_rules, has_rules

__all__ = [
    "Broken",
    "RuleChecker",
    "broken_rules",
    "has_rules",
    "is_nearly",
    "is_ruined",
    "misspelt_fields",
    "misspelt_kind",
]
