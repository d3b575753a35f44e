"""Checks requests by the rules of the provider's pages, of standards, and of code lists."""

from .checks import Broken
from .extras import is_nearly, misspelt_fields, misspelt_kind
from .identifiers import holds_card_number, is_ruined, is_ruined_number
from .rules import RuleChecker, broken_rules, has_rules

__all__ = [
    "Broken",
    "RuleChecker",
    "broken_rules",
    "has_rules",
    "holds_card_number",
    "is_nearly",
    "is_ruined",
    "is_ruined_number",
    "misspelt_fields",
    "misspelt_kind",
]
