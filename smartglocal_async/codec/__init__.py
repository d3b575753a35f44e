"""Records to JSON bytes and back, with cattrs; an error has the path of each field that is wrong.

The rules of the wire format are here and in no record: the names of each API version, the objects
that wrap an instrument, the form of a timestamp.
"""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
