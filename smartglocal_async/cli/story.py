"""What the demo's stories are made of: steps, a client, a provider in a box, and its webhooks."""

import asyncio
import http.client
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from attrs import define, field, frozen

from ..client import SmartGlocal
from ..emulator import FaultScript, Provider, Report, Rules, run_in_thread
from ..envelope import Happened
from ..errors import SmartGlocalError, WebhookRefused
from ..integrations.aiohttp_web import Deliver, Pairs, listening
from ..settings import AttemptDetails, Settings
from ..signing import PrivateKey
from ..values.events import WebhookEvent
from ..webhooks import HTTP_STATUS, WebhookVerifier

PROJECT: Final = "demo"
_PATIENCE_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.005
_MOST_WEBHOOK_BYTES: Final = 1_000_000
_HEARD: Final = 200
_ACCEPTED: Final = "accepted"

Event = TypeVar("Event", bound=WebhookEvent)


class StoryEnded(SmartGlocalError):
    """The story came to a halt before its end."""


@frozen(kw_only=True)
class Line:
    """What is sent, or what came back."""

    is_sent: bool
    text: str


@frozen(kw_only=True)
class Step:
    """A part of the story: a heading, and what went to and fro."""

    title: str
    lines: tuple[Line, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give the step as plain JSON values."""
        lines = [{"sent" if line.is_sent else "came_back": line.text} for line in self.lines]
        return {"title": self.title, "lines": lines}


@frozen
class Count:
    """One fact, as the client knows it and as the provider does."""

    what: str
    client: int | str
    provider: int | str

    @property
    def agrees(self) -> bool:
        """Whether both sides say the same."""
        return self.client == self.provider


@frozen(kw_only=True)
class Ending:
    """What the story came to, on both sides."""

    story: str
    steps: tuple[Step, ...]
    counts: tuple[Count, ...]
    paid: int
    """How often the client holds that money moved."""
    report: Report

    @property
    def is_good(self) -> bool:
        """Whether money moved once, and both sides agree on everything."""
        seen = self.report
        once = self.paid == seen.moved == 1 and not seen.moved_twice
        return once and not seen.bad_signatures and all(count.agrees for count in self.counts)

    def as_dict(self) -> dict[str, Any]:
        """Give the ending, and the steps to it, as plain JSON values."""
        return {
            "ok": self.is_good,
            "story": self.story,
            "paid": {"client": self.paid, "provider": self.report.moved},
            "steps": [step.as_dict() for step in self.steps],
            "counts": [
                {"what": count.what, "client": count.client, "provider": count.provider}
                for count in self.counts
            ],
            "provider": self.report.as_dict(),
        }


@define(eq=False)
class Stage:
    """The client and the provider of a story, and what was told of it so far."""

    api: SmartGlocal
    provider: Provider
    attempts: list[AttemptDetails]
    """What the client's attempts came to, one after another."""
    webhook_url: str
    tell: Callable[[Step], None]
    steps: list[Step] = field(factory=list[Step], init=False)
    webhooks: int = field(default=0, init=False)
    _inbox: "asyncio.Queue[WebhookEvent]"

    async def delivered(self) -> int:
        """Count the webhooks that the provider delivered, once it has heard of them all.

        Its books get an entry after the answer of the receiver arrived, a moment later.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                # Another thread's books, with no event to wait for.
                while len(self.provider.deliveries) < self.webhooks:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)
        return len(self.provider.deliveries)

    @contextmanager
    def step(self, title: str) -> Generator["Script", None, None]:
        """Give a script to write a step into; it is told when the block ends, however it does."""
        script = Script()
        try:
            yield script
        finally:
            step = Step(title=title, lines=tuple(script.lines))
            self.steps.append(step)
            self.tell(step)

    async def webhook(self, kind: type[Event]) -> Event:
        """Give the next webhook, which must be one of this kind.

        Raises:
            StoryEnded: another one came, or none.

        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                event = await self._inbox.get()
        except TimeoutError:
            raise StoryEnded(f"the webhook {kind.wire_type} did not come") from None
        if not isinstance(event, kind):
            raise StoryEnded(f"the webhook {event.type} came instead of {kind.wire_type}")
        self.webhooks += 1
        return event


@define(eq=False)
class Script:
    """The lines of a step, as they are written."""

    lines: list[Line] = field(factory=list[Line])

    def sends(self, text: str) -> None:
        """Note what goes out."""
        self.lines.append(Line(is_sent=True, text=text))

    def gets(self, text: str) -> None:
        """Note what came back."""
        self.lines.append(Line(is_sent=False, text=text))

    def attempts(self, made: Sequence[AttemptDetails]) -> None:
        """Note how attempts ended, and what was asked after those that came to nothing sure."""
        for attempt in made:
            if attempt.happened is not Happened.ACCEPTED:
                why = attempt.cause or attempt.code or "no answer"
                what = attempt.happened.value if attempt.happened else "cancelled"
                self.gets(f"{why.partition(' for http')[0]}: {what}")
            elif attempt.operation == "session/status":
                self.sends("session/status: did it take effect?")


@asynccontextmanager
async def staged(
    faults: FaultScript, rules: Rules, tell: Callable[[Step], None]
) -> AsyncGenerator[Stage, None]:
    """Give a stage: a provider that sends its webhooks to a receiver here, and a client of it."""
    key, inbox = PrivateKey.generate(), asyncio.Queue[WebhookEvent]()
    attempts: list[AttemptDetails] = []
    settings = Settings(on_attempt=attempts.append)
    served = run_in_thread(public_key=key.public, project=PROJECT, faults=faults, rules=rules)
    with served as provider:
        receiver = listening(
            _into(inbox, WebhookVerifier(provider.webhook_key)),
            path="/webhooks",
            host="127.0.0.1",
            port=0,
            most_bytes=_MOST_WEBHOOK_BYTES,
        )
        client = SmartGlocal(PROJECT, key, provider.url, settings=settings)
        async with receiver as url, client as api:
            provider.deliver_to(url)
            yield Stage(api, provider, attempts, url, tell, inbox)


def _into(inbox: "asyncio.Queue[WebhookEvent]", verifier: WebhookVerifier) -> Deliver:
    def deliver(headers: Pairs, body: bytes | WebhookRefused) -> tuple[int, str]:
        try:
            if isinstance(body, WebhookRefused):
                raise body
            inbox.put_nowait(verifier.read(headers, body))
        except WebhookRefused as refused:
            return HTTP_STATUS[refused.fault], refused.fault.value
        return _HEARD, _ACCEPTED

    return deliver


async def visit(url: str, form: dict[str, str]) -> tuple[int, str | None]:
    """Post a form as a browser does; give the HTTP status, and where it leads next."""
    return await asyncio.to_thread(_visit, url, form)


def _visit(url: str, form: dict[str, str]) -> tuple[int, str | None]:
    address = urlsplit(url)
    line = http.client.HTTPConnection(address.netloc, timeout=_PATIENCE_SECONDS)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        line.request("POST", address.path, urlencode(form), headers)
        with line.getresponse() as answer:
            _ = answer.read()
            return answer.status, answer.headers.get("Location")
    finally:
        line.close()
