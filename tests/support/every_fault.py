"""A fault script with every kind of fault, for tests that pay despite faults."""

from collections.abc import Collection
from typing import Final

from attrs import evolve

from smartglocal_async.emulator import Fault, FaultKind, FaultScript

_NEVER: Final = frozenset({FaultKind.HANG})
"""HANG costs a time-out each time and tests nothing that `late` and `after` don't."""
_MAY_PROCESS: Final = (
    FaultKind.THROTTLE,
    FaultKind.SERVER_ERROR,
    FaultKind.BARE_ERROR,
    FaultKind.UNKNOWN_CODE,
)
"""Errors of two kinds: the call was carried out, or it wasn't."""


def every_fault(rate: float, seed: int, *, without: Collection[FaultKind] = ()) -> FaultScript:
    """Return a script in which a share of the calls meets a fault, each kind equally often."""
    faults = [
        Fault(kind, seconds=0.0) if kind is FaultKind.THROTTLE else Fault(kind)
        for kind in FaultKind
        if kind not in _NEVER and kind not in without
    ]
    faults += [
        Fault(kind, processed=True, seconds=0.0) for kind in _MAY_PROCESS if kind not in without
    ]
    share = rate / len(faults)
    # A fault is only tried if those before it passed, so its own rate must be higher.
    return FaultScript(
        tuple(
            evolve(fault, rate=min(1.0, share / (1 - share * place)))
            for place, fault in enumerate(faults)
        ),
        seed,
    )
