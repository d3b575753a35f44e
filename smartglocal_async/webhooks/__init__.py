"""Webhooks: verified, handled once, and kept in a store."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
