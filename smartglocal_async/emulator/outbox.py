"""Which webhook is sent when, and when no more; no I/O, the clock is an argument.

The dice are a hash of seed, session, type and number, so the same life of a session has the
same misfortunes.
"""

import hashlib
import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from attrs import define, field, frozen

from ..errors import InvalidRequest
from .machine import Notice
from .records import Delivery

_LONGEST_SECONDS: Final = 15 * 60.0  # documented
_GIVE_UP_SECONDS: Final = 30 * 60.0  # documented
_BITS: Final = 53
_OK: Final = 200


@frozen(kw_only=True)
class WebhookScript:
    """How webhooks travel; without misfortune each session's come in order, and once.

    Raises:
        InvalidRequest: a number is out of its range; names the field.

    """

    lost: float = 0.0
    """Share that never arrives, 0 to 1."""
    duplicated: float = 0.0
    """Share that is delivered twice."""
    delayed: float = 0.0
    """Share that is sent late, up to ``delay_seconds``; others overtake it."""
    delay_seconds: float = 5.0
    in_order: bool = True
    """Whether a session's next one waits until the one before is delivered or given up.

    What order the provider keeps is unknown, a switch.
    """
    retry_seconds: float = 5.0
    """First pause before a redelivery; it doubles, up to 15 minutes (documented)."""
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        for name in ("lost", "duplicated", "delayed"):
            if not 0 <= getattr(self, name) <= 1:  # NaN too
                raise InvalidRequest(name, "must be from 0 to 1")
        if not self.delay_seconds >= 0:
            raise InvalidRequest("delay_seconds", "must not be negative")
        if not self.retry_seconds > 0:
            raise InvalidRequest("retry_seconds", "must be greater than zero")

    def roll(self, what: str, notice: Notice, number: int) -> float:
        """Give a number from 0 to 1 that depends on nothing but its arguments and the seed."""
        text = f"{self.seed}:{what}:{notice.session_id}:{notice.type}:{number}"
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
        return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)


@define(eq=False, kw_only=True)
class Parcel:
    """One copy of a webhook on its way."""

    notice: Notice
    body: bytes = field(repr=False)
    due: datetime
    overtaken: bool
    """Whether others needn't wait for it."""
    first_sent: datetime | None = None
    attempts: int = 0
    under_way: bool = False


@define(eq=False)
class Outbox:
    """The webhooks that must still be sent; with no address there are none."""

    script: WebhookScript = field(factory=WebhookScript)
    url: str | None = None
    deliveries: list[Delivery] = field(factory=list[Delivery], init=False)
    _parcels: list[Parcel] = field(factory=list[Parcel], init=False)
    _numbers: Counter[str] = field(factory=Counter[str], init=False)

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, notice: Notice, now: datetime) -> None:
        """Take something to tell, unless it is lost or nobody listens."""
        self._numbers[notice.session_id] += 1
        number = self._numbers[notice.session_id]
        script = self.script
        if self.url is None or script.roll("lost", notice, number) < script.lost:
            return
        body = json.dumps(notice.body).encode("ascii")
        delayed = script.roll("delayed", notice, number) < script.delayed
        share = script.roll("delay", notice, number) if delayed else 0.0
        due = now + timedelta(seconds=script.delay_seconds * share)
        twice = script.roll("duplicated", notice, number) < script.duplicated
        for _ in range(2 if twice else 1):
            parcel = Parcel(notice=notice, body=body, due=due, overtaken=delayed)
            self._parcels.append(parcel)

    def take(self, now: datetime) -> list[Parcel]:
        """Give what must be sent now; each is under way until `done`."""
        taken: list[Parcel] = []
        for parcel in self._free():
            if parcel.due <= now:
                parcel.under_way = True
                parcel.attempts += 1
                parcel.first_sent = parcel.first_sent or now
                taken.append(parcel)
        return taken

    def done(self, parcel: Parcel, http_status: int | None, sent: datetime, now: datetime) -> None:
        """Note how an attempt ended; only HTTP 200 is the end of it (documented)."""
        parcel.under_way = False
        told = Delivery(
            type=parcel.notice.type,
            session_id=parcel.notice.session_id,
            attempt=parcel.attempts,
            http_status=http_status,
            time=sent,
        )
        self.deliveries.append(told)
        pause = min(self.script.retry_seconds * 2.0 ** (parcel.attempts - 1), _LONGEST_SECONDS)
        parcel.due = now + timedelta(seconds=pause)
        given_up = parcel.due > (parcel.first_sent or sent) + timedelta(seconds=_GIVE_UP_SECONDS)
        if http_status == _OK or given_up:
            self._parcels.remove(parcel)

    @property
    def next_due(self) -> datetime | None:
        """Moment from which `take` has something to give."""
        return min((parcel.due for parcel in self._free()), default=None)

    def _free(self) -> list[Parcel]:
        busy: set[str] = set()
        free: list[Parcel] = []
        for parcel in self._parcels:
            session_id = parcel.notice.session_id
            waits = self.script.in_order and session_id in busy and not parcel.overtaken
            if not parcel.under_way and not waits:
                free.append(parcel)
            if not parcel.overtaken:
                busy.add(session_id)
        return free
