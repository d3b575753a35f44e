"""Why the demo's client tried again: what befell the attempt before."""

from collections import Counter
from typing import Final

from attrs import define, field, frozen

from ..envelope import Happened
from ..settings import AttemptDetails

_OK: Final = 200


@frozen
class Cause:
    """Why an attempt was followed by another."""

    what: str
    happened: str
    """What surely happened to the request."""


@define(eq=False)
class Retries:
    """Count the causes of retries, as `Settings.on_attempt` tells of attempts."""

    causes: Counter[Cause] = field(factory=Counter[Cause])
    _failed: dict[str, Cause] = field(factory=dict[str, Cause])

    def __call__(self, attempt: AttemptDetails) -> None:
        """Count the cause of the attempt before this one, if there was one."""
        order = attempt.key or ""
        earlier = self._failed.pop(order, None)
        if earlier is not None:
            self.causes[earlier] += 1
        if attempt.happened not in {None, Happened.ACCEPTED}:
            self._failed[order] = _cause(attempt)


def _cause(attempt: AttemptDetails) -> Cause:
    status = attempt.http_status
    # Some of aiohttp's causes end in the address, which is always the same here.
    what = (attempt.cause or attempt.code or "no answer").partition(" for http")[0]
    if status is not None and status != _OK:
        what = f"HTTP {status}"
    elif status == _OK:
        what = f"HTTP 200, but {what}"
    return Cause(what, attempt.happened.value if attempt.happened else "cancelled")
