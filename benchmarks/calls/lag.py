"""Event-loop lag with 200 signed calls in flight: distant server, near server, busy cores."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from attrs import frozen

from ..goals import Goal, Profile, table
from ..machine import say
from ..server import serving
from ..setting import Setting
from ..spread import Spread
from .contenders import AIOHTTP, OURS
from .heartbeat import Lag, busy
from .worker import LIMIT, Entrant, working

_ANSWER_SECONDS: Final = 0.2
_SIGNED_INLINE: Final = f"{AIOHTTP.name}, RSA-2048 on the event loop"
_OURS: Final = f"{OURS.name}, RSA-2048"
_MOST_MS: Final = 10
_DELAYED: Final = "answered after 200 ms"
_AT_ONCE: Final = "answered at once"
_BUSY: Final = "answered at once, both cores busy"


@frozen(kw_only=True)
class Rounds:
    """What the rounds of one contender showed before one kind of server."""

    label: str
    server: str
    lags: list[Lag]

    @property
    def p99(self) -> Spread:
        """The 99th percentile, in milliseconds."""
        return Spread.of([lag.p99 for lag in self.lags])


@frozen
class Lags:
    """What all rounds showed."""

    rounds: list[Rounds]

    def of(self, label: str, server: str) -> list[Lag]:
        """Return the rounds of one contender before one kind of server."""
        (found,) = (
            each.lags for each in self.rounds if (each.label, each.server) == (label, server)
        )
        return found


def measure(setting: Setting) -> Lags:
    """Return the lag of each contender before each kind of server."""
    kinds = {_DELAYED: (_ANSWER_SECONDS, False), _AT_ONCE: (0.0, False), _BUSY: (0.0, True)}
    rounds = list[Rounds]()
    for server, (delay_seconds, is_busy) in kinds.items():
        say(f"event-loop lag, {server}")
        with ExitStack() as stack:
            url = stack.enter_context(serving(setting.cores.server, delay_seconds))
            if is_busy:
                stack.enter_context(busy(setting.cores.every))
            rounds += _measure(setting, url, server)
    return Lags(rounds)


def _measure(setting: Setting, url: str, server: str) -> list[Rounds]:
    entrants = [
        Entrant(label=_OURS, contender=OURS.name, server=url, key_file=setting.key_file),
        Entrant(
            label=_SIGNED_INLINE, contender=AIOHTTP.name, server=url, key_file=setting.key_file
        ),
        Entrant(label=AIOHTTP.name, contender=AIOHTTP.name, server=url),
    ]
    rounds = [Rounds(label=each.label, server=server, lags=[]) for each in entrants]
    seconds = 0.3 if setting.is_quick else 0.6
    for _ in range(setting.processes):
        with ExitStack() as stack:
            workers = [stack.enter_context(working(each)) for each in entrants]
            pairs = list(zip(workers, rounds, strict=True))
            for _ in range(setting.rounds):
                for worker, found in setting.order.sample(pairs, len(pairs)):
                    # The threads that sign may have every core, as they do elsewhere.
                    task = {"concurrency": LIMIT, "seconds": seconds, "cores": setting.cores.every}
                    found.lags.append(Lag(**worker.ask(**task)))
    return rounds


def goals(found: Lags) -> Iterator[Goal]:
    """Yield goal 6."""
    p99 = Spread.of([lag.p99 for lag in found.of(_OURS, _DELAYED)])
    yield Goal(
        number=6,
        figure=f"event-loop lag p99, {LIMIT} signed calls in flight, {_DELAYED}",
        target=f"≤ {_MOST_MS} ms",
        measured=f"{p99.text(1)} ms",
        is_reached=p99.median <= _MOST_MS,
        profile=Profile.SIGNED,
    )
    for server in (_AT_ONCE, _BUSY):
        ratio = Spread.of_ratios(
            [lag.p99 for lag in found.of(_OURS, server)],
            [lag.p99 for lag in found.of(AIOHTTP.name, server)],
        )
        yield Goal(
            number=6,
            figure=f"the same, {server}, ÷ bare aiohttp unsigned",
            target="≤ 1.0",
            measured=ratio.text(2),
            is_reached=ratio.median <= 1,
            profile=Profile.SIGNED,
        )


def tables(found: Lags) -> str:
    """Return the lags as a table."""
    rows = [
        (
            f"{each.label}, {each.server}",
            Spread.of([lag.p50 for lag in each.lags]).text(1),
            each.p99.text(1),
            f"{max(lag.longest for lag in each.lags):.1f}",
            f"{max(lag.held for lag in each.lags):.1f}",
        )
        for each in found.rounds
    ]
    head = f"Event-loop lag with {LIMIT} calls in flight, ms"
    return table((head, "p50", "p99", "longest", "longest step of a call, CPU"), rows)
