"""The queue of webhooks, with their faults and redeliveries; the clock is an argument.

A hash of seed, session, type and number decides whether a fault applies to a webhook, so that a run
with the same calls has the same faults.
"""

import codecs
import enum
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from attrs import define, field, frozen

from ...errors import InvalidRequest
from ...models.events import REDELIVERY
from ...webhooks.verifier import DELIVERED
from .processing import Notification
from .statistics import Delivery
from .validation import JsonObject
from .wrong_answers import with_odd_text

_MAX_PAUSE_SECONDS: Final = 15 * 60.0  # documented
_MAX_DOUBLINGS: Final = 32
_MAX_DELAY_SECONDS: Final = 366 * 86_400.0
_GIVE_UP: Final = timedelta(minutes=REDELIVERY.minutes)
_BITS: Final = 53
MAX_RECORDS: Final = 10_000
"""How many webhooks are kept to be looked at and sent again: the latest ones."""


@frozen(kw_only=True)
class WebhookScript:
    """Faults of webhooks; without any, those of each session arrive once and in order.

    Raises:
        InvalidRequest: a number is out of its range; names the field.

    """

    lost: float = 0.0
    """Share that never arrives, 0 to 1."""
    duplicated: float = 0.0
    """Share that is delivered twice."""
    delayed: float = 0.0
    """Share that is sent up to ``delay_seconds`` late, and may be overtaken by others."""
    delay_seconds: float = 5.0
    in_order: bool = True
    """Whether a session's next one waits until the one before is delivered or given up.

    Whether the provider keeps an order is unknown.
    """
    retry_seconds: float = 5.0
    """First pause before a redelivery; it doubles, up to 15 minutes (documented)."""
    never_gives_up: bool = False
    """Whether it is redelivered until it is answered with HTTP 200, as an older version of the page
    has it, and not for 30 minutes."""
    seed: int = 0

    swapped: float = 0.0
    """Share that is about another session than the right one."""
    bom: float = 0.0
    """Share that begins with a UTF-8 byte order mark, which the signature covers."""
    surrogate: float = 0.0
    """Share whose texts hold half a surrogate pair, a NUL and a terminal escape."""

    def __attrs_post_init__(self) -> None:
        for name in ("lost", "duplicated", "delayed", "swapped", "bom", "surrogate"):
            if not 0 <= getattr(self, name) <= 1:  # NaN too
                raise InvalidRequest(name, "must be from 0 to 1")
        if not 0 <= self.delay_seconds <= _MAX_DELAY_SECONDS:
            raise InvalidRequest("delay_seconds", f"must be from 0 to {_MAX_DELAY_SECONDS:.0f}")
        if not self.retry_seconds > 0:
            raise InvalidRequest("retry_seconds", "must be greater than zero")

    def applies(self, fault: str, notification: Notification, number: int) -> bool:
        """Whether the fault of that name applies to a webhook."""
        rate: float = getattr(self, fault)
        return self.roll(fault, notification, number) < rate

    def roll(self, what: str, notification: Notification, number: int) -> float:
        """Return a number from 0 to 1 that depends only on its arguments and the seed."""
        text = f"{self.seed}:{what}:{notification.session_id}:{notification.type}:{number}"
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
        return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)


class WebhookState(enum.Enum):
    """Where a webhook is."""

    WAITING = "waiting"
    """To be sent, for the first time or again."""
    DELIVERED = "delivered"
    GIVEN_UP = "given up"
    LOST = "lost"
    """By the fault `lost`."""
    NO_ADDRESS = "no address"
    """There was no URL to send it to."""


@define(eq=False, kw_only=True)
class WebhookRecord:
    """A webhook and its deliveries, kept to be looked at and sent again."""

    number: int
    """Counted from 1 since the start."""
    notification: Notification
    body: bytes | None = field(default=None, repr=False)
    """The bytes that are sent; None if it wasn't to be sent."""
    state: WebhookState = WebhookState.WAITING
    deliveries: list[Delivery] = field(factory=list[Delivery])


@define(eq=False, kw_only=True)
class QueuedWebhook:
    """One copy of a webhook in the queue."""

    record: WebhookRecord
    notification: Notification
    body: bytes = field(repr=False)
    due: datetime
    may_be_overtaken: bool
    """Whether later ones needn't wait for it."""
    first_sent: datetime | None = None
    attempts: int = 0
    is_being_sent: bool = False


@define(eq=False)
class WebhookQueue:
    """The webhooks that are to be sent; without a URL, none."""

    script: WebhookScript = field(factory=WebhookScript)
    url: str | None = None
    deliveries: list[Delivery] = field(factory=list[Delivery], init=False)
    records: deque[WebhookRecord] = field(
        factory=lambda: deque[WebhookRecord](maxlen=MAX_RECORDS), init=False
    )
    """The latest webhooks, oldest first."""
    count: int = field(default=0, init=False)
    """All webhooks since the start, with those that weren't to be sent."""
    _queued: list[QueuedWebhook] = field(factory=list[QueuedWebhook], init=False)
    _numbers: Counter[str] = field(factory=Counter[str], init=False)

    def __len__(self) -> int:
        return len(self._queued)

    def put(
        self,
        notification: Notification,
        now: datetime,
        other: Callable[[int], JsonObject] | None = None,
    ) -> None:
        """Add the webhook of a notification, unless it is lost or there is no URL.

        ``other`` returns another session than the notification's, chosen by a number; without it
        no webhook is swapped.
        """
        self._numbers[notification.session_id] += 1
        number = self._numbers[notification.session_id]
        script = self.script
        self.count += 1
        record = WebhookRecord(number=self.count, notification=notification)
        self.records.append(record)
        if self.url is None:
            record.state = WebhookState.NO_ADDRESS
            return
        if script.applies("lost", notification, number):
            record.state = WebhookState.LOST
            return
        payload = notification.body
        if other is not None and script.applies("swapped", notification, number):
            session = other(int(script.roll("other", notification, number) * 2**_BITS))
            payload = {**payload, "session": session}
        if script.applies("surrogate", notification, number):
            payload = with_odd_text(payload)
        body = json.dumps(payload).encode("ascii")
        if script.applies("bom", notification, number):
            body = codecs.BOM_UTF8 + body
        record.body = body
        is_delayed = script.applies("delayed", notification, number)
        share = script.roll("delay", notification, number) if is_delayed else 0.0
        due = now + timedelta(seconds=script.delay_seconds * share)
        is_duplicated = script.applies("duplicated", notification, number)
        for _ in range(2 if is_duplicated else 1):
            webhook = QueuedWebhook(
                record=record,
                notification=notification,
                body=body,
                due=due,
                may_be_overtaken=is_delayed,
            )
            self._queued.append(webhook)

    def record(self, number: int) -> WebhookRecord | None:
        """Return a webhook by its number; None if there is none, or it isn't kept any more."""
        place = number - self.records[0].number if self.records else -1
        return self.records[place] if 0 <= place < len(self.records) else None

    def send_again(self, record: WebhookRecord, now: datetime) -> None:
        """Add another copy of a webhook, with the same bytes, to be sent now."""
        if record.body is None:
            record.body = json.dumps(record.notification.body).encode("ascii")
        record.state = WebhookState.WAITING
        webhook = QueuedWebhook(
            record=record,
            notification=record.notification,
            body=record.body,
            due=now,
            may_be_overtaken=True,
        )
        self._queued.append(webhook)

    def take(self, now: datetime) -> list[QueuedWebhook]:
        """Return the webhooks to send now; call `done` for each after its attempt."""
        to_send: list[QueuedWebhook] = []
        for webhook in self._sendable():
            if webhook.due <= now:
                webhook.is_being_sent = True
                webhook.attempts += 1
                webhook.first_sent = webhook.first_sent or now
                to_send.append(webhook)
        return to_send

    def done(
        self,
        webhook: QueuedWebhook,
        http_status: int | None,
        sent: datetime,
        now: datetime,
        *,
        problem: str | None = None,
    ) -> None:
        """Record how an attempt ended; unless it was `DELIVERED`, another one follows.

        ``problem`` says why there was no answer.
        """
        webhook.is_being_sent = False
        delivery = Delivery(
            type=webhook.notification.type,
            session_id=webhook.notification.session_id,
            attempt=webhook.attempts,
            http_status=http_status,
            time=sent,
            webhook=webhook.record.number,
            problem=problem,
        )
        self.deliveries.append(delivery)
        webhook.record.deliveries.append(delivery)
        doublings = min(webhook.attempts - 1, _MAX_DOUBLINGS)
        pause = min(self.script.retry_seconds * 2.0**doublings, _MAX_PAUSE_SECONDS)
        webhook.due = now + timedelta(seconds=pause)
        is_over = webhook.due > (webhook.first_sent or sent) + _GIVE_UP
        is_given_up = is_over and not self.script.never_gives_up
        if http_status == DELIVERED or is_given_up:
            self._queued.remove(webhook)
            is_delivered = http_status == DELIVERED
            webhook.record.state = WebhookState.DELIVERED if is_delivered else WebhookState.GIVEN_UP

    @property
    def next_due(self) -> datetime | None:
        """Time from which `take` returns a webhook."""
        return min((webhook.due for webhook in self._sendable()), default=None)

    def _sendable(self) -> list[QueuedWebhook]:
        busy: set[str] = set()
        sendable: list[QueuedWebhook] = []
        for webhook in self._queued:
            session_id = webhook.notification.session_id
            waits = self.script.in_order and session_id in busy and not webhook.may_be_overtaken
            if not webhook.is_being_sent and not waits:
                sendable.append(webhook)
            if not webhook.may_be_overtaken:
                busy.add(session_id)
        return sendable
