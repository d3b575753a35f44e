"""Median and quartiles of what several rounds gave."""

import statistics
from collections.abc import Sequence
from typing import Self

from attrs import frozen


@frozen
class Spread:
    """The middle of some figures, and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Give the spread of one figure or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    @classmethod
    def of_ratios(cls, over: Sequence[float], under: Sequence[float]) -> Self:
        """Give the spread of ratios, each taken inside one round."""
        return cls.of([a / b for a, b in zip(over, under, strict=True)])

    @classmethod
    def of_differences(cls, more: Sequence[float], less: Sequence[float]) -> Self:
        """Give the spread of differences, each taken inside one round."""
        return cls.of([a - b for a, b in zip(more, less, strict=True)])

    def text(self, decimals: int) -> str:
        """Write it as ``median (low-high)``."""
        low, median, high = (f"{x:.{decimals}f}" for x in (self.low, self.median, self.high))
        return f"{median} ({low}-{high})"


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
