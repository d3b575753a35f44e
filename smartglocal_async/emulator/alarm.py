"""The bell by which any thread wakes the courier."""

import contextlib
from collections.abc import Callable

from attrs import define


@define(eq=False)
class Alarm:
    """Wakes the courier from any thread; silent before and after its life."""

    _ring: Callable[[], object] | None = None

    def ring(self) -> None:
        """Have the courier look at what is due."""
        ring = self._ring
        if ring is not None:
            # The loop may end between the look and the call.
            with contextlib.suppress(RuntimeError):
                _ = ring()

    @property
    def is_set(self) -> bool:
        """Whether there is somebody to wake."""
        return self._ring is not None

    def set(self, ring: Callable[[], object] | None) -> None:
        """Say what wakes it; None: there is nobody to wake."""
        self._ring = ring
