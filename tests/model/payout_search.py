"""Search every order of events for a way to pay twice, with the code's own table and decisions.

The world is one payout's row, a few workers that believe they have it, sessions at a provider, and
messages under way. A message arrives at any later time or never, its answer may be lost; a worker
may die or lose its lease at any step, and go on regardless. Whatever can happen next is tried, so
within its bounds the search is a proof. It imports `STEPS` and `next_move`: it can't drift from
them.

    python tests/model/payout_search.py [large]
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple

from attrs import evolve, frozen

from smartglocal_async.journal.states import CAN_WAIT, STEPS, Event, Step
from smartglocal_async.payouts.protocol import Call, Came, Mode, Move, News, Row, Shown, Then
from smartglocal_async.payouts.protocol import next_move as code_decides

Decide = Callable[[Row, News | None], Move]
READY, SENDING, AWAITING = range(3)
CREATE, START, STATUS, CONFIRM, CANCEL, INIT = range(6)
MAKES: Final = frozenset({CREATE, INIT})
CREATED, STARTED, MOVING, PAID, CLOSED, DECLINED = range(6)


class Session(NamedTuple):
    """A session at the provider."""

    number: int
    """Which of the row's sessions it was created for."""
    state: int = CREATED
    items: int = 0
    paid: int = 0


class Message(NamedTuple):
    """A request under way."""

    call: int
    session: int
    """Its place among the sessions; of a create, the number it is for."""
    worker: int


class Worker(NamedTuple):
    """Somebody who believes to have the row."""

    holds: bool
    """Whether it has the lease in truth: an old fence writes nothing any more."""
    phase: int
    step: Step
    """By all that it knows."""
    number: int
    chosen: int | None
    news: int | None = None
    call: int | None = None
    session: int | None = None
    """The session that the news is about."""
    learned: Event | None = None
    """What it knows, and didn't write yet."""


class World(NamedTuple):
    """All there is at one moment."""

    step: Step
    number: int
    chosen: int | None
    workers: tuple[Worker | None, ...]
    sessions: tuple[Session, ...] = ()
    network: tuple[Message, ...] = ()
    crashes: int = 0
    takeovers: int = 0
    sends: int = 0
    forgotten: tuple[Step, int, int | None] | None = None
    """What the row was before its last commit, where a journal may forget that."""


@frozen(kw_only=True)
class Provider:
    """How it behaves where its pages are silent."""

    second_start: bool = True
    """A start in a session under way adds a payout."""
    confirms_itself: bool | None = None
    """Whether a start pays; None: as the mode expects."""
    cancel_created: bool = True
    late_start_revives: bool = False
    late_confirm_revives: bool = False
    replays_create: bool = False
    """A create of a number that was created before gives the same session."""
    times_out: bool = False
    """It may close an unconfirmed session at any moment."""
    stale_status: bool = False
    takes_its_time: bool = False
    """A payout is under way for a while, and may be declined."""
    cancel_lies: bool = False
    """A cancel of what is under way is answered as if it were done."""


@frozen(kw_only=True)
class Bounds:
    """How much may happen in one life of a payout."""

    workers: int = 2
    crashes: int = 1
    takeovers: int = 1
    network: int = 3
    sessions: int = 3
    sends: int = 7


@frozen(kw_only=True)
class Variant:
    """One search."""

    mode: Mode
    provider: Provider = Provider()
    bounds: Bounds = Bounds()
    decide: Decide = code_decides
    forgets: bool = False
    """A crash may take the journal's last commit with it."""
    is_fenced: bool = True
    waits: frozenset[Event] = CAN_WAIT
    """What may be written with the step that follows it."""


@frozen
class Found:
    """What a search came to."""

    states: int
    edges: int
    double: int
    """States in which money moved twice."""
    false: int
    """States in which the row is final, and untrue."""
    seconds: float
    is_whole: bool
    """Whether every state within the bounds was seen."""
    example: World | None


def search(variant: Variant, most: int = 20_000_000, stop_after: int = 0) -> Found:
    """Visit every state; ``stop_after`` that many that are wrong, if it isn't zero."""
    begun = time.monotonic()
    rules = Rules(variant)
    first = World(Step.NEW, 0, None, (None,) * variant.bounds.workers)
    seen, queue = {first}, deque([first])
    double = false = edges = 0
    example = None
    while queue and len(seen) <= most and not (stop_after and double + false >= stop_after):
        world = queue.popleft()
        paid = sum(session.paid for session in world.sessions)
        if paid > 1:
            double, example = double + 1, example or world
            continue
        if (world.step is Step.SUCCEEDED and not paid) or (world.step > Step.SUCCEEDED and paid):
            false, example = false + 1, example or world
        for after in rules.successors(world):
            edges += 1
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return Found(len(seen), edges, double, false, time.monotonic() - begun, not queue, example)


class Rules:
    """What may follow a state."""

    def __init__(self, variant: Variant) -> None:
        """Take the variant, and remember its decisions: they depend on nothing else."""
        self.mode, self.provider, self.bounds = variant.mode, variant.provider, variant.bounds
        self.forgets, self.is_fenced = variant.forgets, variant.is_fenced
        self.waits = variant.waits
        by_mode = variant.mode is not Mode.MANUAL
        own = variant.provider.confirms_itself
        self.confirms_itself = by_mode if own is None else own

        @cache
        def decide(step: Step, number: int, news: int | None) -> tuple[Move, int | None]:
            known = None if news is None else NEWS[news]
            move = variant.decide(Row(variant.mode, step, number), known)
            return move, None if move.call is None else CALLS.index(move.call)

        self.decide = decide
        self.carry_out = {START: self.start, CONFIRM: self.confirm, CANCEL: self.cancel}

    def successors(self, world: World) -> Iterator[World]:
        """Give every state that may be next."""
        for place, worker in enumerate(world.workers):
            if worker is None:
                continue
            if worker.phase == READY:
                yield from self.work(world, place, worker)
            elif worker.phase == SENDING:
                yield from self.send(world, place, worker)
            else:
                news = told(worker.call, Came.LOST)
                yield put(world, place, worker._replace(phase=READY, news=news))
            yield from self.crash(world, place, worker)
        yield from self.claim(world)
        yield from self.deliver(world)
        yield from self.let_time_pass(world)

    def work(self, world: World, place: int, worker: Worker) -> Iterator[World]:
        """Decide, and write: all that is known, or what can wait not yet."""
        move, call = self.decide(worker.step, worker.number, worker.news)
        event = move.write
        if event in self.waits and worker.learned is None:
            chosen = worker.session if event is Event.SESSION_CHOSEN else worker.chosen
            if chosen is not None:
                step = STEPS[worker.step, event]
                knows = worker._replace(step=step, learned=event, chosen=chosen)
                yield self.go_on(world, place, knows, move, call)
        if event is None and call == STATUS and worker.learned is not None:
            yield self.go_on(world, place, worker, move, call)
        events = tuple(one for one in (worker.learned, event) if one is not None)
        if events:
            written = self.commit(world, worker, events)
            if written is None:
                yield put(world, place, None)  # Its lease is lost, and it stops.
                return
            world = written
            worker = worker._replace(
                step=world.step, number=world.number, chosen=world.chosen, learned=None
            )
            if event is not None and not self.is_fenced and call not in MAKES:
                worker = worker._replace(chosen=_meant(world, worker, event))
        yield self.go_on(world, place, worker, move, call)

    def go_on(
        self, world: World, place: int, worker: Worker, move: Move, call: int | None
    ) -> World:
        """Do what follows the writing."""
        if move.then is Then.DONE:
            return put(world, place, None)
        if move.then is Then.NEXT:
            return put(world, place, worker._replace(news=None, session=None))
        aimed = worker._replace(phase=SENDING, call=call, news=None, session=worker.chosen)
        return put(world, place, aimed)

    def commit(self, world: World, worker: Worker, events: tuple[Event, ...]) -> World | None:
        """Write steps at once, if the fence allows it."""
        if self.is_fenced and not worker.holds:
            return None
        before = (world.step, world.number, world.chosen) if self.forgets else None
        for event in events:
            step = STEPS.get((world.step, event))
            if step is None:
                assert not (worker.holds and self.is_fenced), (world.step, event)
                return None
            number, chosen = world.number, world.chosen
            if event is Event.SESSION_CHOSEN and worker.learned is event:
                chosen = worker.chosen
            elif event is Event.SESSION_CHOSEN or (event is Event.START_KNOWN and chosen is None):
                chosen = worker.session
            if event is Event.SESSION_LEFT:
                number, chosen = number + 1, None
            world = world._replace(step=step, number=number, chosen=chosen)
        return world._replace(forgotten=before)

    def send(self, world: World, place: int, worker: Worker) -> Iterator[World]:
        """Put a message on its way; a status is answered at once, or lost."""
        call, bounds = worker.call, self.bounds
        if call == STATUS:
            if worker.session is None:
                return
            for shown in self.looks(world.sessions[worker.session]):
                news = told(call, Came.ANSWERED, shown)
                yield put(world, place, worker._replace(phase=READY, news=news))
            return
        makes = call in MAKES
        made = len(world.sessions) + sum(message.call in MAKES for message in world.network)
        if (
            world.sends < bounds.sends
            and len(world.network) < bounds.network
            and not (makes and made >= bounds.sessions)
        ):
            aim = worker.number if makes else worker.session
            message = Message(call, aim, place)
            network = tuple(sorted((*world.network, message)))
            sent = world._replace(network=network, sends=world.sends + 1)
            yield put(sent, place, worker._replace(phase=AWAITING))
        news = told(call, Came.NOT_SENT)
        yield put(world, place, worker._replace(phase=READY, news=news))

    def looks(self, session: Session) -> Iterator[Shown]:
        """Give what a session may look like."""
        yield shown(session)
        if self.provider.stale_status:
            if session.state in {STARTED, MOVING, PAID, DECLINED}:
                yield Shown.EMPTY
            if session.state in {MOVING, PAID, DECLINED} and not self.confirms_itself:
                yield Shown.AWAITS_CONFIRM

    def crash(self, world: World, place: int, worker: Worker) -> Iterator[World]:
        """Let a worker die; a machine that loses its power may lose its last commit."""
        if world.crashes >= self.bounds.crashes:
            return
        dead = put(world._replace(crashes=world.crashes + 1), place, None)
        yield dead
        if self.forgets and world.forgotten is not None and worker.holds:
            step, number, chosen = world.forgotten
            yield dead._replace(step=step, number=number, chosen=chosen, forgotten=None)

    def claim(self, world: World) -> Iterator[World]:
        """Let somebody take the row, though its holder may live."""
        if world.step.is_final or world.step is Step.UNKNOWN:
            return
        alive = any(worker is not None for worker in world.workers)
        if (alive and world.takeovers >= self.bounds.takeovers) or None not in world.workers:
            return
        place = world.workers.index(None)
        workers = [
            worker and (worker._replace(holds=False) if worker.holds else worker)
            for worker in world.workers
        ]
        workers[place] = Worker(
            holds=True, phase=READY, step=world.step, number=world.number, chosen=world.chosen
        )
        yield world._replace(workers=tuple(workers), takeovers=world.takeovers + alive)

    def deliver(self, world: World) -> Iterator[World]:
        """Let a message arrive, and its answer or not."""
        for place, message in enumerate(world.network):
            network = world.network[:place] + world.network[place + 1 :]
            for sessions, session, came in self.execute(world.sessions, message):
                after = world._replace(network=network, sessions=sessions)
                yield after
                worker = world.workers[message.worker]
                if worker is None or worker.phase != AWAITING or worker.call != message.call:
                    continue
                if message.call not in MAKES and worker.session != session:
                    continue
                news = told(message.call, came, shown(sessions[session]))
                heard = worker._replace(phase=READY, news=news, session=session)
                yield put(after, message.worker, heard)

    def execute(
        self, sessions: tuple[Session, ...], message: Message
    ) -> Iterator[tuple[tuple[Session, ...], int, Came]]:
        """Carry a message out: give the sessions, the one it is about, and the answer."""
        if message.call in MAKES:
            yield self.create(sessions, message)
            return
        place, came = message.session, Came.ANSWERED
        after = self.carry_out[message.call](sessions[place])
        if after is None:
            after, came = sessions[place], Came.REFUSED
        yield (*sessions[:place], after, *sessions[place + 1 :]), place, came

    def create(
        self, sessions: tuple[Session, ...], message: Message
    ) -> tuple[tuple[Session, ...], int, Came]:
        """Make a session, or pay at once."""
        if self.provider.replays_create and message.call == CREATE:
            for place, session in enumerate(sessions):
                if session.number == message.session:
                    return sessions, place, Came.ANSWERED
        paid = message.call == INIT
        made = Session(message.session, PAID if paid else CREATED, paid, paid)
        return (*sessions, made), len(sessions), Came.ANSWERED

    def start(self, session: Session) -> Session | None:
        """Start a payout; where nobody has to confirm, that pays."""
        under_way = session.state in {STARTED, MOVING, PAID}
        revived = session.state == CLOSED and self.provider.late_start_revives
        if not (session.state == CREATED or revived or (under_way and self.provider.second_start)):
            return None
        items = session.items + 1
        if self.confirms_itself:
            return self.moving(session._replace(items=items), 1)
        state = STARTED if session.state in {CREATED, CLOSED} else session.state
        return session._replace(state=state, items=items)

    def confirm(self, session: Session) -> Session | None:
        """Pay all that waits for it."""
        revived = session.state == CLOSED and session.items and self.provider.late_confirm_revives
        if not (session.state == STARTED or revived):
            return None
        return self.moving(session, session.items)

    def moving(self, session: Session, items: int) -> Session:
        """Pay: at once, or later."""
        if self.provider.takes_its_time and session.state != PAID:
            return session._replace(state=MOVING)
        return session._replace(state=PAID, paid=session.paid + items)

    def cancel(self, session: Session) -> Session | None:
        """Close what can be closed."""
        if session.state in {STARTED, CLOSED}:
            return session._replace(state=CLOSED)
        if session.state == CREATED and self.provider.cancel_created:
            return session._replace(state=CLOSED)
        if session.state == MOVING and self.provider.cancel_lies:
            return session
        return None

    def let_time_pass(self, world: World) -> Iterator[World]:
        """Let the provider do what it does by itself."""
        for place, session in enumerate(world.sessions):
            for after in self.later(session):
                sessions = (*world.sessions[:place], after, *world.sessions[place + 1 :])
                yield world._replace(sessions=sessions)

    def later(self, session: Session) -> Iterator[Session]:
        """Give what a session may become."""
        if session.state == MOVING:
            yield session._replace(state=PAID, paid=session.items)
            yield session._replace(state=DECLINED)
        waits = not self.confirms_itself and session.state in {CREATED, STARTED}
        if self.provider.times_out and waits:
            yield session._replace(state=CLOSED)


def _meant(world: World, worker: Worker, event: Event) -> int | None:
    # Without a fence a worker goes on with the session that it knows, whatever the row says now.
    return world.chosen if event is Event.SESSION_CHOSEN else worker.chosen


def put(world: World, place: int, worker: Worker | None) -> World:
    """Replace a worker."""
    workers = world.workers
    return world._replace(workers=(*workers[:place], worker, *workers[place + 1 :]))


CALLS: Final = tuple(Call)
NEWS: Final = [
    News(call, came, shown) for call in Call for came in Came for shown in (None, *Shown)
]
_PLACES: Final = {
    (CALLS.index(news.call), news.came, news.shown): place for place, news in enumerate(NEWS)
}


def told(call: int, came: Came, shown: Shown | None = None) -> int:
    """Give the place of these news: numbers are quickly compared."""
    return _PLACES[call, came, shown]


def shown(session: Session) -> Shown:
    """Give what a session looks like."""
    if session.state == STARTED:
        return Shown.AWAITS_CONFIRM if session.items == 1 else Shown.NOT_OURS
    return _LOOKS[session.state]


_LOOKS: Final = {
    CREATED: Shown.EMPTY,
    MOVING: Shown.UNDER_WAY,
    PAID: Shown.PAID,
    CLOSED: Shown.CLOSED,
    DECLINED: Shown.DECLINED,
}


# --- What is searched -------------------------------------------------------------------------

_EMPTY: Final = News(Call.STATUS, Came.ANSWERED, Shown.EMPTY)


def starts_again(row: Row, news: News | None) -> Move:
    """Start a second time in the same session, where the first is not to be seen."""
    if row.step is Step.STARTING and news == _EMPTY:
        return Move(Then.SEND, Call.START)
    return code_decides(row, news)


def leaves_at_once(row: Row, news: News | None) -> Move:
    """Take a new session, where nothing was started in the old one, and don't cancel that."""
    if row.step is Step.STARTING and news == _EMPTY:
        return Move(Then.NEXT, write=Event.SESSION_LEFT)
    return code_decides(row, news)


QUICK: Final = Bounds(network=2, sessions=2, sends=6)
_MANUAL, _AUTOMATIC = Mode.MANUAL, Mode.AUTOMATIC
_SLOW: Final = Provider(takes_its_time=True)
_WORST: Final = evolve(_SLOW, stale_status=True, cancel_lies=True)
"""As bad as one may be that keeps A3 to A5, once it confirms by itself."""

SAFE: Final[dict[str, Variant]] = {
    "manual": Variant(mode=_MANUAL),
    "manual, sessions time out": Variant(mode=_MANUAL, provider=Provider(times_out=True)),
    "manual, created can't be cancelled": Variant(
        mode=_MANUAL, provider=Provider(cancel_created=False)
    ),
    "manual, a late start revives": Variant(
        mode=_MANUAL, provider=Provider(late_start_revives=True)
    ),
    "manual, stale status": Variant(mode=_MANUAL, provider=Provider(stale_status=True)),
    "manual, slow, cancel lies": Variant(mode=_MANUAL, provider=evolve(_SLOW, cancel_lies=True)),
    "manual, creates replayed": Variant(mode=_MANUAL, provider=Provider(replays_create=True)),
    "automatic": Variant(mode=_AUTOMATIC),
    "automatic, created can't be cancelled": Variant(
        mode=_AUTOMATIC, provider=Provider(cancel_created=False)
    ),
    "automatic, slow, stale status": Variant(
        mode=_AUTOMATIC, provider=evolve(_SLOW, stale_status=True)
    ),
    "automatic, creates replayed": Variant(mode=_AUTOMATIC, provider=Provider(replays_create=True)),
    "automatic, slow, stale status, cancel lies": Variant(mode=_AUTOMATIC, provider=_WORST),
    "automatic, slow, stale status, cancel lies, created can't be cancelled": Variant(
        mode=_AUTOMATIC, provider=evolve(_WORST, cancel_created=False)
    ),
    "manual, the provider confirms": Variant(mode=_MANUAL, provider=Provider(confirms_itself=True)),
    "one step": Variant(mode=Mode.ONE_STEP),
}
"""Nobody is paid twice, and no row lies."""

UNSAFE: Final[dict[str, Variant]] = {
    "automatic, second start in the session": Variant(mode=_AUTOMATIC, decide=starts_again),
    "manual, second start in the session": Variant(mode=_MANUAL, decide=starts_again),
    "automatic, new session without a cancel": Variant(mode=_AUTOMATIC, decide=leaves_at_once),
    "automatic, a late start revives": Variant(
        mode=_AUTOMATIC, provider=Provider(late_start_revives=True)
    ),
    "manual, the provider confirms, created can't be cancelled": Variant(
        mode=_MANUAL, provider=Provider(confirms_itself=True, cancel_created=False)
    ),
    "manual, a late confirm revives": Variant(
        mode=_MANUAL,
        provider=Provider(late_confirm_revives=True, times_out=True),
        bounds=QUICK,
    ),
    "automatic, the journal forgets": Variant(mode=_AUTOMATIC, forgets=True),
    "automatic, the choice of a session waits": Variant(
        mode=_AUTOMATIC, waits=CAN_WAIT | {Event.SESSION_CHOSEN}
    ),
    "automatic, no fence": Variant(mode=_AUTOMATIC, is_fenced=False),
    "manual, no fence": Variant(mode=_MANUAL, is_fenced=False, bounds=QUICK),
}
"""What must be found: a search that finds nothing here would prove nothing above."""

QUICKER: Final = evolve(QUICK, sends=5)
LARGE: Final = Bounds()


def quick(name: str) -> Bounds:
    """Give bounds within which a safe variant is searched in a few seconds."""
    return QUICK if SAFE[name].provider == Provider() else QUICKER


def report(bounds: Bounds | None) -> None:
    """Search every variant, and print the counts as a table; None takes the quick bounds."""
    sys.stdout.write(f"{'variant':42}{'states':>10}{'twice':>8}{'untrue':>8}{'seconds':>9}\n")
    for name, variant in (SAFE | UNSAFE).items():
        if name in UNSAFE:
            found = search(variant, stop_after=0 if bounds else 1)
        else:
            found = search(evolve(variant, bounds=bounds or quick(name)))
        counts = f"{found.states:>10,}{found.double:>8,}{found.false:>8,}{found.seconds:>9.1f}"
        sys.stdout.write(f"{name:42}{counts}\n")


if __name__ == "__main__":
    report(LARGE if sys.argv[1:] == ["large"] else None)
