"""Median and quartiles of several rounds."""

import statistics
from collections.abc import Sequence
from typing import Self

from attrs import frozen


@frozen
class Spread:
    """The median of some figures, and their quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of one figure or more."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))

    @classmethod
    def of_ratios(cls, over: Sequence[float], under: Sequence[float]) -> Self:
        """Return the spread of ratios, each within one round."""
        return cls.of([a / b for a, b in zip(over, under, strict=True)])

    @classmethod
    def of_differences(cls, more: Sequence[float], less: Sequence[float]) -> Self:
        """Return the spread of differences, each within one round."""
        return cls.of([a - b for a, b in zip(more, less, strict=True)])

    def text(self, decimals: int) -> str:
        """Return it as ``median (low-high)``."""
        low, median, high = (f"{x:.{decimals}f}" for x in (self.low, self.median, self.high))
        if self.low == self.high:
            return median
        return f"{median} ({low}-{high})"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values doesn't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
