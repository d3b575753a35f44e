"""The journal: payouts and their steps, written before any call that moves money is sent.

`journal` has the protocol and `entries` its records. `states` has the legal steps; `transitions`
decides what may be written. `memory`, `sqlite` and `postgres` are the stores.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
