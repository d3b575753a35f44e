"""How fast a batch goes of late, look by look."""

import time
from collections import deque
from typing import Final

from attrs import define, field

_LOOKS: Final = 16
"""So many make up the rate: half a minute, at the usual pause."""
_SLOW: Final = 10
"""Below so many a second, a tenth of one matters."""


@define(eq=False)
class Window:
    """The looks that make up a rate: those since what it depends on changed."""

    _terms: object = field(default=None, init=False)
    _looks: deque[tuple[float, int]] = field(
        factory=lambda: deque[tuple[float, int]](maxlen=_LOOKS), init=False
    )

    def rate(self, terms: object, settled: int) -> float | None:
        """Take a look into account; give how many settle in a second, None at the first one.

        The first one is that at which the ``terms`` are others than before.
        """
        if terms != self._terms:
            self._looks.clear()
        self._terms, now = terms, time.monotonic()
        self._looks.append((now, settled))
        since, before = self._looks[0]
        return None if since == now else (settled - before) / (now - since)


def pace(rate: float | None) -> str:
    """Give a rate in words; a slow one with a tenth."""
    if rate is None:
        return ""
    return f"{rate:,.1f}/s" if rate < _SLOW else f"{rate:,.0f}/s"
