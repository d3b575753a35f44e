"""Helpers for the tests of a program that uses this package; `plugin` has the pytest fixtures."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
