"""Parts of the demo's stories: steps, a client, an emulated provider, and its webhooks."""

import asyncio
import http.client
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from attrs import define, field, frozen
from rich.console import Console

from ...client import SmartGlocal
from ...emulator import FaultScript, Provider, Report, Rules, run_in_thread
from ...envelope import AttemptResult
from ...errors import SmartGlocalError, WebhookRefused
from ...integrations.aiohttp_web import Deliver, Pairs, listening
from ...keys import PrivateKey
from ...models.events import WebhookEvent
from ...observer.delivery import only
from ...observer.events import AttemptEnded
from ...settings import Settings
from ...webhooks.verifier import DELIVERED, HTTP_STATUS, WebhookVerifier
from ..tables import cell, show, table

PROJECT: Final = "demo"
_TIMEOUT_SECONDS: Final = 20.0
_CHECK_SECONDS: Final = 0.005
_MAX_WEBHOOK_BYTES: Final = 1_000_000
_ACCEPTED: Final = "accepted"

Event = TypeVar("Event", bound=WebhookEvent)


class StoryEnded(SmartGlocalError):
    """The story stopped before its end."""


@frozen(kw_only=True)
class StoryLine:
    """A line of a step: what is sent, or what is received."""

    is_sent: bool
    text: str


@frozen(kw_only=True)
class StoryStep:
    """A step of a story: a heading, and what is sent and received."""

    title: str
    lines: tuple[StoryLine, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the step as plain JSON values."""
        lines = [{"sent" if line.is_sent else "came_back": line.text} for line in self.lines]
        return {"title": self.title, "lines": lines}


@frozen
class ComparedValue:
    """One value, as the client and as the provider have it."""

    what: str
    client: int | str
    provider: int | str

    @property
    def agrees(self) -> bool:
        """Whether both sides have the same value."""
        return self.client == self.provider


@frozen(kw_only=True)
class StoryResult:
    """The result of a story, on both sides."""

    story: str
    steps: tuple[StoryStep, ...]
    counts: tuple[ComparedValue, ...]
    paid: int
    """How often money moved, by the client's count."""
    report: Report

    @property
    def is_good(self) -> bool:
        """Whether money moved once, and all values agree."""
        seen = self.report
        once = self.paid == seen.moved == 1 and not seen.moved_twice
        return once and not seen.bad_signatures and all(count.agrees for count in self.counts)

    def as_dict(self) -> dict[str, Any]:
        """Return the result and the steps as plain JSON values."""
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
class StorySetup:
    """The client and the provider of a story, and the steps so far."""

    api: SmartGlocal
    provider: Provider
    attempts: list[AttemptEnded]
    """The client's attempts, in their order."""
    webhook_url: str
    show: Callable[[StoryStep], None]
    steps: list[StoryStep] = field(factory=list[StoryStep], init=False)
    webhooks: int = field(default=0, init=False)
    _received: "asyncio.Queue[WebhookEvent]"

    async def delivered(self) -> int:
        """Count the webhooks that the provider delivered, when it has recorded them all.

        It records a delivery after the answer of the receiver, a moment later.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                # Recorded in another thread, without an event to wait for.
                while len(self.provider.deliveries) < self.webhooks:  # noqa: ASYNC110
                    await asyncio.sleep(_CHECK_SECONDS)
        return len(self.provider.deliveries)

    @contextmanager
    def step(self, title: str) -> Generator["StoryScript", None, None]:
        """Yield the lines of a step; the step is shown when the block ends, also by an error."""
        script = StoryScript()
        try:
            yield script
        finally:
            step = StoryStep(title=title, lines=tuple(script.lines))
            self.steps.append(step)
            self.show(step)

    async def webhook(self, kind: type[Event]) -> Event:
        """Return the next webhook.

        Raises:
            StoryEnded: it is of another kind, or none arrived.

        """
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                event = await self._received.get()
        except TimeoutError:
            raise StoryEnded(f"the webhook {kind.wire_type} did not arrive") from None
        if not isinstance(event, kind):
            raise StoryEnded(f"the webhook {event.type} arrived instead of {kind.wire_type}")
        self.webhooks += 1
        return event


@define(eq=False)
class StoryScript:
    """The lines of a step."""

    lines: list[StoryLine] = field(factory=list[StoryLine])

    def sends(self, text: str) -> None:
        """Add what is sent."""
        self.lines.append(StoryLine(is_sent=True, text=text))

    def gets(self, text: str) -> None:
        """Add what is received."""
        self.lines.append(StoryLine(is_sent=False, text=text))

    def attempts(self, made: Sequence[AttemptEnded]) -> None:
        """Add failed attempts, and the status requests after them."""
        for attempt in made:
            if attempt.happened is not AttemptResult.ACCEPTED:
                why = attempt.cause or attempt.code or "no answer"
                what = attempt.happened.value if attempt.happened else "cancelled"
                self.gets(f"{why.partition(' for http')[0]}: {what}")
            elif attempt.operation == "session/status":
                self.sends("session/status: did it take effect?")


@asynccontextmanager
async def story_setup(
    faults: FaultScript, rules: Rules, show: Callable[[StoryStep], None]
) -> AsyncGenerator[StorySetup, None]:
    """Yield a provider that sends its webhooks to a receiver here, and a client for it."""
    key, received = PrivateKey.generate(), asyncio.Queue[WebhookEvent]()
    attempts: list[AttemptEnded] = []
    settings = Settings(observers=[only(AttemptEnded, attempts.append)])
    served = run_in_thread(public_key=key.public, project=PROJECT, faults=faults, rules=rules)
    with served as provider:
        # Shown like a step, but it is none of the story's.
        show(StoryStep(title=f"The emulator's page: {provider.page_url}", lines=()))
        receiver = listening(
            _into(received, WebhookVerifier(provider.webhook_key)),
            path="/webhooks",
            host="127.0.0.1",
            port=0,
            max_bytes=_MAX_WEBHOOK_BYTES,
        )
        client = SmartGlocal(PROJECT, key, provider.url, settings=settings)
        async with receiver as url, client as api:
            provider.deliver_to(url)
            yield StorySetup(api, provider, attempts, url, show, received)


def _into(received: "asyncio.Queue[WebhookEvent]", verifier: WebhookVerifier) -> Deliver:
    def deliver(headers: Pairs, body: bytes | WebhookRefused) -> tuple[int, str]:
        try:
            if isinstance(body, WebhookRefused):
                raise body
            received.put_nowait(verifier.verify(headers, body))
        except WebhookRefused as refused:
            return HTTP_STATUS[refused.fault], refused.fault.value
        return DELIVERED, _ACCEPTED

    return deliver


async def visit(url: str, form: dict[str, str]) -> tuple[int, str | None]:
    """Post a form as a browser does; return the HTTP status, and the address of a redirect."""
    return await asyncio.to_thread(_visit, url, form)


def _visit(url: str, form: dict[str, str]) -> tuple[int, str | None]:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=_TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", address.path, urlencode(form), headers)
        with connection.getresponse() as answer:
            _ = answer.read()
            return answer.status, answer.headers.get("Location")
    finally:
        connection.close()


def show_step(screen: Console, step: StoryStep) -> None:
    """Show a step."""
    screen.print()
    screen.print(cell(step.title, "bold"))
    for line in step.lines:
        screen.print(_shown(line), soft_wrap=True)


def show_ending(screen: Console, ending: StoryResult) -> None:
    """Show the values of both sides, and the verdict."""
    screen.print()
    compared = table()
    compared.add_column("")
    compared.add_column("Client", justify="right")
    compared.add_column("Provider", justify="right")
    for count in ending.counts:
        style = "" if count.agrees else "bold red"
        compared.add_row(count.what, cell(count.client, style), cell(count.provider, style))
    show(screen, compared)
    if ending.is_good:
        screen.print(f"One {ending.story}, paid once.", style="bold green")
        return
    counts = f"the client counts {ending.paid}, the provider {ending.report.moved}"
    verdict = f"FAILED: it should be paid once; {counts}."
    screen.print(verdict, style="bold red")


def _shown(line: StoryLine) -> object:
    return cell(f"  {'->' if line.is_sent else '<-'} {line.text}", "cyan" if line.is_sent else "")
