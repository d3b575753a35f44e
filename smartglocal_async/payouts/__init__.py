"""Pays out at most once per key, through a journal, across crashes and lost answers.

`payouts` has the public class. `claimer` claims a payout and `worker` runs its life: `protocol`
decides, `calls` sends, and `session_view` reads what a session shows.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
