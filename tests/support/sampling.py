"""A sample of many test cases for daily runs, or all of them."""

import os
import random
from collections.abc import Sequence
from typing import Final, TypeVar

Case = TypeVar("Case")

RUN_ALL: Final = "SMARTGLOCAL_EVERY_POINT" in os.environ
"""Whether all cases run."""
_SEED: Final = 7


def sample(cases: Sequence[Case], place: int, sample_count: int) -> list[Case]:
    """Return one of several random samples, the same each time, or all of the cases.

    Consecutive places have different samples that together contain all cases.
    """
    if RUN_ALL:
        return list(cases)
    order = list(range(len(cases)))
    random.Random(_SEED).shuffle(order)  # noqa: S311 - not a secret
    return [cases[number] for number in sorted(order[place % sample_count :: sample_count])]
