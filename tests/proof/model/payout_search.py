"""Search every order of events for a way to pay twice, with the code's own table and decisions.

A state is the journal row of one payout, workers that believe they hold it, sessions at a provider,
and requests under way. A request may arrive at any later time or never, and its answer may be lost.
A worker may die or lose its lease at any step, or go on without its lease. The search tries every
event that is possible next, so within its bounds it is a proof. It imports `STEPS` and `decide`,
so it always tests the current code.

    python tests/proof/model/payout_search.py [large]
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple

from attrs import evolve, frozen

from smartglocal_async.journal.states import CAN_WAIT, STEPS, Event, Step
from smartglocal_async.payouts.protocol import (
    Decision,
    Mode,
    NextStep,
    Observation,
    PayoutCall,
    ReplyKind,
    SessionView,
    Situation,
    why_not_retried,
)
from smartglocal_async.payouts.protocol import decide as code_decides

Decide = Callable[[Situation, Observation | None], Decision]
MayRetry = Callable[[Situation, SessionView | None, bool], bool]
"""Whether a failed row may be retried, by what its session shows, and whether it was UNKNOWN."""
READY, SENDING, AWAITING = range(3)
_MOST_MOVES: Final = 60
CREATE, START, STATUS, CONFIRM, CANCEL, INIT = range(6)
CREATING: Final = frozenset({CREATE, INIT})
OTHER: Final = -1
"""The number of a session that another journal created."""
_SHARE_A_KEY: Final = 2
"""How many sessions of a payout are started with one key, as in `payouts.calls`."""
REFUSED_CREATE: Final = -1
"""In place of the index of a session: none was created."""
CREATED, STARTED, MOVING, PAID, CLOSED, DECLINED = range(6)


class Session(NamedTuple):
    """A session at the provider."""

    number: int
    """The number of the session in the row for which it was created."""
    state: int = CREATED
    items: int = 0
    paid: int = 0


class Message(NamedTuple):
    """A request under way."""

    call: int
    session: int
    """The index of its session; for a create, the number of the new session."""
    worker: int
    is_duplicate: bool = False
    """Whether it was already carried out once."""


class Worker(NamedTuple):
    """A worker that believes it holds the row."""

    holds: bool
    """Whether it holds the lease; a worker with an old fencing token can't write."""
    phase: int
    step: Step
    """The step according to this worker."""
    number: int
    chosen: int | None
    observation: int | None = None
    call: int | None = None
    session: int | None = None
    """The session of the observation."""
    learned: Event | None = None
    """An event that it knows and hasn't written yet."""
    refusal: ReplyKind | None = None
    """How its start was refused; its status check decides what that means."""


class World(NamedTuple):
    """The complete state at one moment."""

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
    """The row before the last commit, if a crash may undo that commit."""
    retries: int = 0
    was_unknown: bool = False
    """Whether the row ever was UNKNOWN; recorded if it may be retried."""


@frozen(kw_only=True)
class Provider:
    """What the provider does where its documentation is silent."""

    second_start: bool = True
    """A start in a session in progress adds a payout."""
    confirms_itself: bool | None = None
    """Whether a start pays; None: as the mode expects."""
    cancel_created: bool = True
    late_start_revives: bool = False
    late_confirm_revives: bool = False
    replays_create: bool = False
    """A create with a number that was used before returns the same session."""
    times_out: bool = False
    """It may close an unconfirmed session at any moment."""
    stale_status: bool = False
    is_slow: bool = False
    """A payout is in progress for a while, and may be declined."""
    acknowledges_late_cancel: bool = False
    """A cancel of a payout in progress is answered as if it had worked."""
    cancel_looks_declined: bool = False
    """A cancelled session looks as if the provider had declined the payout."""
    duplicates_starts: bool = False
    """A start may be carried out twice on its way; either answer may be the one that arrives."""
    answers_about_others: bool = False
    """An answer may be about another session and show any state."""
    refuses_creates: bool = False
    """A create may be refused."""
    refuses_used_keys: bool = False
    """A start is refused if its key was used; a start that had no effect may have used it, too."""
    other_journal: bool = False
    """A create may be answered with a session of another journal that uses the same payout key."""


@frozen(kw_only=True)
class Bounds:
    """Limits of the search for one payout."""

    workers: int = 2
    crashes: int = 1
    takeovers: int = 1
    network: int = 3
    sessions: int = 3
    sends: int = 7
    retries: int = 1
    """How often an operator retries the payout, if the variant has retries."""


def code_retries(row: Situation, shown: SessionView | None, was_unknown: bool) -> bool:  # noqa: FBT001 - as the others
    """Return whether the code retries a failed payout."""
    return why_not_retried(row, shown, was_unknown=was_unknown) is None


@frozen(kw_only=True)
class Variant:
    """The settings of one search."""

    mode: Mode
    provider: Provider = Provider()
    bounds: Bounds = Bounds()
    decide: Decide = code_decides
    loses_last_commit: bool = False
    """A crash may undo the journal's last commit."""
    is_fenced: bool = True
    compares_sessions: bool = True
    """Whether an answer about another session counts as lost."""
    compares_journals: bool = True
    """Whether the journal's id is compared, and not only the payout's key."""
    may_stay_open: bool = False
    """Whether a payout may stay open for ever: there is a session that can't be closed."""
    can_be_delayed: frozenset[Event] = CAN_WAIT
    """Events that may be written together with the next event."""
    may_retry: MayRetry | None = None
    """Whether an operator's retry of a failed payout is accepted; None: no operator retries."""
    operator_fails: bool = False
    """Whether an operator may write any open payout as failed, rightly or not."""


@frozen
class Found:
    """The result of a search."""

    states: int
    edges: int
    paid_twice: int
    """States in which money moved twice."""
    wrong: int
    """States in which the row is final and wrong, or failed although the provider declined nothing.
    """
    stuck: int
    """States from which a new worker can't settle the payout, even if every call is answered."""
    seconds: float
    is_whole: bool
    """Whether every state within the bounds was visited."""
    example: World | None


def search(variant: Variant, most: int = 20_000_000, stop_after: int = 0) -> Found:
    """Visit every state; stop after `stop_after` wrong ones, unless it is 0."""
    started = time.monotonic()
    rules = Rules(variant)
    first = World(Step.NEW, 0, None, (None,) * variant.bounds.workers)
    seen, queue = {first}, deque([first])
    paid_twice = wrong = stuck = edges = 0
    example = None
    rows: set[tuple[object, ...]] = set()
    while queue and len(seen) <= most and not (stop_after and paid_twice + wrong >= stop_after):
        world = queue.popleft()
        paid = sum(session.paid for session in world.sessions)
        if paid > 1:
            paid_twice, example = paid_twice + 1, example or world
            continue
        if has_wrong_final_state(world, paid, variant):
            wrong, example = wrong + 1, example or world
        row = world[:3], world.sessions
        if row not in rows:
            rows.add(row)
            if not (variant.may_stay_open or rules.can_settle(world)):
                stuck, example = stuck + 1, example or world
        for after in rules.successors(world):
            edges += 1
            if after not in seen:
                seen.add(after)
                queue.append(after)
    seconds = time.monotonic() - started
    return Found(len(seen), edges, paid_twice, wrong, stuck, seconds, not queue, example)


def has_wrong_final_state(world: World, paid: int, variant: Variant) -> bool:
    """Return whether the row is final and contradicts the provider, by the code's own doing."""
    if world.step is Step.FAILED:
        if variant.operator_fails:
            return False
        if variant.provider.refuses_creates and world.chosen is None:
            return paid > 0
        return paid > 0 or all(session.state != DECLINED for session in world.sessions)
    return world.step is Step.SUCCEEDED and not paid


class Rules:
    """The transitions between states."""

    def __init__(self, variant: Variant) -> None:
        """Take the variant, and cache its decisions, which depend on nothing else."""
        self.mode, self.provider, self.bounds = variant.mode, variant.provider, variant.bounds
        self.compares_sessions, self.compares_journals = (
            variant.compares_sessions,
            variant.compares_journals,
        )
        self.loses_last_commit, self.is_fenced = variant.loses_last_commit, variant.is_fenced
        self.can_be_delayed = variant.can_be_delayed
        self.may_retry, self.operator_fails = variant.may_retry, variant.operator_fails
        by_mode = variant.mode is not Mode.MANUAL
        own = variant.provider.confirms_itself
        self.confirms_itself = by_mode if own is None else own

        @cache
        def decide(step: Step, number: int, observation: int | None) -> tuple[Decision, int | None]:
            known = None if observation is None else OBSERVATIONS[observation]
            move = variant.decide(Situation(variant.mode, step, number), known)
            return move, None if move.call is None else CALLS.index(move.call)

        self.decide = decide
        self.handlers = {START: self.start, CONFIRM: self.confirm, CANCEL: self.cancel}

    def successors(self, world: World) -> Iterator[World]:
        """Yield every state that may follow."""
        for place, worker in enumerate(world.workers):
            if worker is None:
                continue
            if worker.phase == READY:
                yield from self.work(world, place, worker)
            elif worker.phase == SENDING:
                yield from self.send(world, place, worker)
            else:
                observation = observation_index(worker.call, ReplyKind.LOST)
                yield with_worker(
                    world, place, worker._replace(phase=READY, observation=observation)
                )
            yield from self.crash(world, place, worker)
        yield from self.claim(world)
        yield from self.operate(world)
        yield from self.deliver(world)
        yield from self.let_time_pass(world)

    def work(self, world: World, place: int, worker: Worker) -> Iterator[World]:
        """Decide and write; an event that may be written later is also tried without the write."""
        move, call = self.decide(worker.step, worker.number, worker.observation)
        event = move.write
        if event in self.can_be_delayed and worker.learned is None:
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
                yield with_worker(world, place, None)  # It lost its lease and stops.
                return
            world = written
            worker = worker._replace(
                step=world.step, number=world.number, chosen=world.chosen, learned=None
            )
            if event is not None and not self.is_fenced and call not in CREATING:
                worker = worker._replace(chosen=_meant(world, worker, event))
        yield self.go_on(world, place, worker, move, call)

    def go_on(
        self, world: World, place: int, worker: Worker, move: Decision, call: int | None
    ) -> World:
        """Return the state after a decision was written."""
        if move.next_step is NextStep.DONE:
            return with_worker(world, place, None)
        if move.next_step is NextStep.DECIDE_AGAIN:
            return with_worker(world, place, worker._replace(observation=None, session=None))
        sending = worker._replace(phase=SENDING, call=call, observation=None, session=worker.chosen)
        return with_worker(world, place, sending)

    def commit(self, world: World, worker: Worker, events: tuple[Event, ...]) -> World | None:
        """Write events in one transaction; return None if the fencing token is old."""
        if self.is_fenced and not worker.holds:
            return None
        before = (world.step, world.number, world.chosen) if self.loses_last_commit else None
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
            if step is Step.UNKNOWN and self.may_retry is not None:
                world = world._replace(was_unknown=True)
        return world._replace(forgotten=before)

    def send(self, world: World, place: int, worker: Worker) -> Iterator[World]:
        """Send a request; a status check is answered at once, or its answer is lost."""
        call, bounds = worker.call, self.bounds
        if call == STATUS:
            if worker.session is None:
                return
            of = STATUS if worker.refusal is None else START
            for shown in self.views(world.sessions[worker.session]):
                seen = observation_index(of, worker.refusal or ReplyKind.ANSWERED, shown)
                received = worker._replace(phase=READY, observation=seen, refusal=None)
                yield with_worker(world, place, received)
            if self.provider.answers_about_others:
                lost = observation_index(of, ReplyKind.LOST)
                received = worker._replace(phase=READY, observation=lost, refusal=None)
                yield with_worker(world, place, received)
            return
        creates = call in CREATING
        made = len(world.sessions) + sum(message.call in CREATING for message in world.network)
        if (
            world.sends < bounds.sends
            and len(world.network) < bounds.network
            and not (creates and made >= bounds.sessions)
        ):
            aim = worker.number if creates else worker.session
            message = Message(call, aim, place)
            network = tuple(sorted((*world.network, message)))
            sent = world._replace(network=network, sends=world.sends + 1)
            yield with_worker(sent, place, worker._replace(phase=AWAITING))
        observation = observation_index(call, ReplyKind.NOT_SENT)
        yield with_worker(world, place, worker._replace(phase=READY, observation=observation))

    def views(self, session: Session) -> Iterator[SessionView]:
        """Yield what the status of a session may show."""
        yield self.shown(session)
        if self.provider.answers_about_others and not self.compares_sessions:
            yield from SessionView
        if self.provider.stale_status:
            if session.state in {STARTED, MOVING, PAID, DECLINED}:
                yield SessionView.EMPTY
            if session.state in {MOVING, PAID, DECLINED} and not self.confirms_itself:
                yield SessionView.AWAITS_CONFIRM

    def crash(self, world: World, place: int, worker: Worker) -> Iterator[World]:
        """Let a worker die; if the machine loses power, its last commit may be lost."""
        if world.crashes >= self.bounds.crashes:
            return
        dead = with_worker(world._replace(crashes=world.crashes + 1), place, None)
        yield dead
        if self.loses_last_commit and world.forgotten is not None and worker.holds:
            step, number, chosen = world.forgotten
            yield dead._replace(step=step, number=number, chosen=chosen, forgotten=None)

    def claim(self, world: World) -> Iterator[World]:
        """Let a free worker claim the row, even if its holder is alive."""
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

    def operate(self, world: World) -> Iterator[World]:
        """Let an operator retry a failed payout, or write an open one as failed."""
        failed = STEPS.get((world.step, Event.NOT_PAID))
        if self.operator_fails and failed is not None:
            # It claims the row first, so no worker can write any more.
            workers = tuple(worker and worker._replace(holds=False) for worker in world.workers)
            yield world._replace(step=failed, workers=workers, forgotten=None)
        step = STEPS.get((world.step, Event.RETRIED))
        if self.may_retry is None or step is None or world.retries >= self.bounds.retries:
            return
        row, chosen = Situation(self.mode, world.step, world.number), world.chosen
        views = [None] if chosen is None else self.views(world.sessions[chosen])
        if any(self.may_retry(row, shown, world.was_unknown) for shown in views):
            number = world.number + (chosen is not None)
            retried = world._replace(step=step, number=number, chosen=None, forgotten=None)
            yield retried._replace(retries=world.retries + 1)

    def deliver(self, world: World) -> Iterator[World]:
        """Let a request arrive; its answer arrives or is lost."""
        for place, message in enumerate(world.network):
            network = world.network[:place] + world.network[place + 1 :]
            for sessions, session, kind in self.execute(world.sessions, message):
                after = world._replace(network=network, sessions=sessions)
                yield after
                if (
                    self.provider.duplicates_starts
                    and message.call == START
                    and not message.is_duplicate
                ):
                    duplicates_starts = tuple(
                        sorted((*network, message._replace(is_duplicate=True)))
                    )
                    yield after._replace(network=duplicates_starts)
                worker = world.workers[message.worker]
                if worker is None or worker.phase != AWAITING or worker.call != message.call:
                    continue
                if message.call not in CREATING and worker.session != session:
                    continue
                if message.call == START and kind is not ReplyKind.ANSWERED:
                    looking = worker._replace(phase=SENDING, call=STATUS, refusal=kind)
                    yield with_worker(after, message.worker, looking)
                    continue
                if session == REFUSED_CREATE:
                    refused = observation_index(CREATE, ReplyKind.REFUSED)
                    received = worker._replace(phase=READY, observation=refused)
                    yield with_worker(after, message.worker, received)
                    continue
                observation = observation_index(message.call, kind, self.shown(sessions[session]))
                received = worker._replace(phase=READY, observation=observation, session=session)
                yield with_worker(after, message.worker, received)

    def execute(
        self, sessions: tuple[Session, ...], message: Message
    ) -> Iterator[tuple[tuple[Session, ...], int, ReplyKind]]:
        """Carry out a request; yield the sessions, the index of its session and the reply."""
        if message.call in CREATING:
            yield self.create(sessions, message)
            if self.provider.refuses_creates and message.call == CREATE:
                yield sessions, REFUSED_CREATE, ReplyKind.REFUSED
            if self.provider.other_journal and message.call == CREATE:
                yield (*sessions, Session(OTHER)), len(sessions), ReplyKind.ANSWERED
            return
        place, kind = message.session, ReplyKind.ANSWERED
        if message.call == START and self.provider.refuses_used_keys:
            yield from self.start_with_key(sessions, place)
            return
        after = self.handlers[message.call](sessions[place])
        if after is None:
            after, kind = sessions[place], ReplyKind.REFUSED
        yield (*sessions[:place], after, *sessions[place + 1 :]), place, kind

    def create(
        self, sessions: tuple[Session, ...], message: Message
    ) -> tuple[tuple[Session, ...], int, ReplyKind]:
        """Create a session; in one step, also pay."""
        if self.provider.replays_create and message.call == CREATE:
            for place, session in enumerate(sessions):
                if session.number == message.session:
                    return sessions, place, ReplyKind.ANSWERED
        paid = message.call == INIT
        made = Session(message.session, PAID if paid else CREATED, paid, paid)
        return (*sessions, made), len(sessions), ReplyKind.ANSWERED

    def start(self, session: Session) -> Session | None:
        """Start a payout; if no confirm is needed, this pays."""
        under_way = session.state in {STARTED, MOVING, PAID}
        revived = session.state == CLOSED and self.provider.late_start_revives
        if not (session.state == CREATED or revived or (under_way and self.provider.second_start)):
            return None
        items = session.items + 1
        if self.confirms_itself:
            return self.pay_items(session._replace(items=items), 1)
        state = STARTED if session.state in {CREATED, CLOSED} else session.state
        return session._replace(state=state, items=items)

    def start_with_key(
        self, sessions: tuple[Session, ...], place: int
    ) -> Iterator[tuple[tuple[Session, ...], int, ReplyKind]]:
        """Start a payout unless its key was used."""
        session = sessions[place]
        same_key = [session]
        if session.number < _SHARE_A_KEY:
            same_key = [each for each in sessions if 0 <= each.number < _SHARE_A_KEY]
        if any(each.items for each in same_key):
            yield sessions, place, ReplyKind.DUPLICATE
            return
        if any(each.state == CLOSED for each in same_key):
            yield sessions, place, ReplyKind.DUPLICATE
        after = self.start(session)
        if after is None:
            yield sessions, place, ReplyKind.REFUSED
        else:
            yield (*sessions[:place], after, *sessions[place + 1 :]), place, ReplyKind.ANSWERED

    def confirm(self, session: Session) -> Session | None:
        """Pay everything in the session that waits for the confirm."""
        revived = session.state == CLOSED and session.items and self.provider.late_confirm_revives
        if not (session.state == STARTED or revived):
            return None
        return self.pay_items(session, session.items)

    def pay_items(self, session: Session, items: int) -> Session:
        """Pay at once, or mark the payout as in progress."""
        if self.provider.is_slow and session.state != PAID:
            return session._replace(state=MOVING)
        return session._replace(state=PAID, paid=session.paid + items)

    def cancel(self, session: Session) -> Session | None:
        """Close the session if that is possible; return None if it isn't."""
        if session.state in {STARTED, CLOSED}:
            return session._replace(state=CLOSED)
        if session.state == CREATED and self.provider.cancel_created:
            return session._replace(state=CLOSED)
        if session.state == MOVING and self.provider.acknowledges_late_cancel:
            return session
        return None

    def shown(self, session: Session) -> SessionView:
        """Return what the status of a session shows."""
        if session.number == OTHER and self.compares_journals:
            return SessionView.MISMATCH
        if session.state == STARTED:
            return SessionView.AWAITS_CONFIRM if session.items == 1 else SessionView.NOT_OURS
        if session.state == CLOSED and session.items:
            return (
                SessionView.DECLINED
                if self.provider.cancel_looks_declined
                else SessionView.CANCELLED
            )
        return _LOOKS[session.state]

    def can_settle(self, world: World) -> bool:
        """Return whether a new worker settles the row if every call succeeds."""
        world, observation, about = world._replace(network=()), None, None
        for _ in range(_MOST_MOVES):
            if world.step.is_final or world.step is Step.UNKNOWN:
                return True
            worker = Worker(
                holds=True,
                phase=READY,
                step=world.step,
                number=world.number,
                chosen=world.chosen,
                observation=observation,
                session=about,
            )
            move, call = self.decide(world.step, world.number, observation)
            if move.write is not None:
                written = self.commit(world, worker, (move.write,))
                assert written is not None
                world = written
            observation, about = None, world.chosen
            if move.next_step is NextStep.DONE:
                return False
            if move.next_step is NextStep.DECIDE_AGAIN or call is None:
                continue
            world = world._replace(sessions=tuple(map(self.settled, world.sessions)))
            if call == STATUS:
                assert world.chosen is not None
                shown = self.shown(world.sessions[world.chosen])
                observation = observation_index(call, ReplyKind.ANSWERED, shown)
                continue
            aim = world.number if call in CREATING else world.chosen
            assert aim is not None
            sessions, about, kind = next(self.execute(world.sessions, Message(call, aim, 0)))
            world, observation = (
                world._replace(sessions=sessions),
                observation_index(call, kind, self.shown(sessions[about])),
            )
        return False

    @staticmethod
    def settled(session: Session) -> Session:
        """Let a payout in progress succeed."""
        if session.state == MOVING:
            return session._replace(state=PAID, paid=session.items)
        return session

    def let_time_pass(self, world: World) -> Iterator[World]:
        """Let the provider change sessions without a request."""
        for place, session in enumerate(world.sessions):
            for after in self.next_states(session):
                sessions = (*world.sessions[:place], after, *world.sessions[place + 1 :])
                yield world._replace(sessions=sessions)

    def next_states(self, session: Session) -> Iterator[Session]:
        """Yield the states that a session may change to."""
        if session.number == OTHER and session.state == CREATED:
            yield session._replace(state=PAID, items=1)  # Paid by the other journal.
        if session.state == MOVING:
            yield session._replace(state=PAID, paid=session.items)
            yield session._replace(state=DECLINED)
        waits = not self.confirms_itself and session.state in {CREATED, STARTED}
        if self.provider.times_out and waits:
            yield session._replace(state=CLOSED)


def _meant(world: World, worker: Worker, event: Event) -> int | None:
    # Without fencing, a worker keeps the session that it knows, whatever the row contains now.
    return world.chosen if event is Event.SESSION_CHOSEN else worker.chosen


def with_worker(world: World, place: int, worker: Worker | None) -> World:
    """Replace a worker."""
    workers = world.workers
    return world._replace(workers=(*workers[:place], worker, *workers[place + 1 :]))


CALLS: Final = tuple(PayoutCall)
OBSERVATIONS: Final = [
    Observation(call, kind, shown)
    for call in PayoutCall
    for kind in ReplyKind
    for shown in (None, *SessionView)
]
_PLACES: Final = {
    (CALLS.index(observation.call), observation.kind, observation.shown): place
    for place, observation in enumerate(OBSERVATIONS)
}


def observation_index(call: int, kind: ReplyKind, shown: SessionView | None = None) -> int:
    """Return the index of an observation; integers compare faster."""
    return _PLACES[call, kind, shown]


_LOOKS: Final = {
    CREATED: SessionView.EMPTY,
    MOVING: SessionView.UNDER_WAY,
    PAID: SessionView.PAID,
    CLOSED: SessionView.CLOSED,
    DECLINED: SessionView.DECLINED,
}


# --- Variants ---------------------------------------------------------------------------------

_EMPTY: Final = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.EMPTY)


def starts_twice(row: Situation, observation: Observation | None) -> Decision:
    """Start again in the same session if its first start isn't visible."""
    if row.step is Step.STARTING and observation == _EMPTY:
        return Decision(NextStep.SEND, PayoutCall.START)
    return code_decides(row, observation)


def leaves_without_cancel(row: Situation, observation: Observation | None) -> Decision:
    """Choose a new session without a cancel if no start is visible in the old one."""
    if row.step is Step.STARTING and observation == _EMPTY:
        return Decision(NextStep.DECIDE_AGAIN, write=Event.SESSION_LEFT)
    return code_decides(row, observation)


def accepts_refused_start(row: Situation, observation: Observation | None) -> Decision:
    """Treat a refused start as a decline if the status shows no payout."""
    if row.step is Step.STARTING and observation == Observation(
        PayoutCall.START, ReplyKind.REFUSED, SessionView.EMPTY
    ):
        return Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
    return code_decides(row, observation)


def takes_cancel_for_decline(row: Situation, observation: Observation | None) -> Decision:
    """Treat a session that this client cancelled as declined by the provider."""
    if (
        row.step is Step.CANCELLING
        and observation is not None
        and observation.shown is SessionView.DECLINED
    ):
        return Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
    return code_decides(row, observation)


def takes_used_key_for_refusal(row: Situation, observation: Observation | None) -> Decision:
    """Treat a start whose key was used as declined if the status shows no payout."""
    if row.step is Step.STARTING and observation == Observation(
        PayoutCall.START, ReplyKind.DUPLICATE, SessionView.EMPTY
    ):
        return Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
    return code_decides(row, observation)


def takes_unknown_code_for_refusal(row: Situation, observation: Observation | None) -> Decision:
    """Treat a start that was answered with an unknown code as refused."""
    if row.step is Step.STARTING and observation == Observation(PayoutCall.START, ReplyKind.LOST):
        observation = Observation(PayoutCall.START, ReplyKind.REFUSED, SessionView.EMPTY)
    return code_decides(row, observation)


def retries_always(_row: Situation, _shown: SessionView | None, _was_unknown: bool) -> bool:  # noqa: FBT001 - as the others
    """Retry each failed payout, whatever its session shows."""
    return True


QUICK: Final = Bounds(network=2, sessions=2, sends=6)
_MANUAL, _AUTOMATIC = Mode.MANUAL, Mode.AUTOMATIC
_SLOW: Final = Provider(is_slow=True)
_WORST: Final = evolve(_SLOW, stale_status=True, acknowledges_late_cancel=True)
"""The worst provider that keeps A3 to A5, if it also confirms by itself."""
_DUPLICATES: Final = Provider(second_start=False, duplicates_starts=True, stale_status=True)
_USED_KEYS: Final = Provider(refuses_used_keys=True, duplicates_starts=True, stale_status=True)

SAFE: Final[dict[str, Variant]] = {
    "manual": Variant(mode=_MANUAL),
    "manual, sessions time out": Variant(mode=_MANUAL, provider=Provider(times_out=True)),
    "manual, created can't be cancelled": Variant(
        mode=_MANUAL, provider=Provider(cancel_created=False)
    ),
    "manual, a late start reopens a session": Variant(
        mode=_MANUAL, provider=Provider(late_start_revives=True)
    ),
    "manual, stale status": Variant(mode=_MANUAL, provider=Provider(stale_status=True)),
    "manual, slow, late cancel acknowledged": Variant(
        mode=_MANUAL, provider=evolve(_SLOW, acknowledges_late_cancel=True)
    ),
    "manual, creates replayed": Variant(mode=_MANUAL, provider=Provider(replays_create=True)),
    "automatic": Variant(mode=_AUTOMATIC),
    "automatic, created can't be cancelled": Variant(
        mode=_AUTOMATIC, provider=Provider(cancel_created=False), may_stay_open=True
    ),
    "automatic, slow, stale status": Variant(
        mode=_AUTOMATIC, provider=evolve(_SLOW, stale_status=True)
    ),
    "automatic, creates replayed": Variant(mode=_AUTOMATIC, provider=Provider(replays_create=True)),
    "automatic, slow, stale status, late cancel acknowledged": Variant(
        mode=_AUTOMATIC, provider=_WORST
    ),
    "automatic, slow, stale status, late cancel acknowledged, created can't be cancelled": Variant(
        mode=_AUTOMATIC, provider=evolve(_WORST, cancel_created=False), may_stay_open=True
    ),
    "manual, the provider confirms": Variant(mode=_MANUAL, provider=Provider(confirms_itself=True)),
    "one step": Variant(mode=Mode.ONE_STEP),
    "manual, answers about other sessions": Variant(
        mode=_MANUAL, provider=Provider(answers_about_others=True)
    ),
    "automatic, answers about other sessions": Variant(
        mode=_AUTOMATIC, provider=Provider(answers_about_others=True)
    ),
    "manual, another journal with the same key": Variant(
        mode=_MANUAL, provider=Provider(other_journal=True)
    ),
    "automatic, another journal with the same key": Variant(
        mode=_AUTOMATIC, provider=Provider(other_journal=True)
    ),
    "manual, duplicated starts, stale status": Variant(mode=_MANUAL, provider=_DUPLICATES),
    "automatic, duplicated starts, stale status": Variant(mode=_AUTOMATIC, provider=_DUPLICATES),
    "manual, used keys refused, duplicated starts, stale status": Variant(
        mode=_MANUAL, provider=_USED_KEYS
    ),
    "automatic, used keys refused, duplicated starts, stale status": Variant(
        mode=_AUTOMATIC, provider=_USED_KEYS
    ),
    "automatic, used keys refused, slow, late cancel acknowledged": Variant(
        mode=_AUTOMATIC, provider=evolve(_WORST, refuses_used_keys=True)
    ),
    "manual, retried": Variant(mode=_MANUAL, provider=_SLOW, may_retry=code_retries),
    "automatic, retried": Variant(mode=_AUTOMATIC, provider=_WORST, may_retry=code_retries),
    "manual, creates refused, retried": Variant(
        mode=_MANUAL, provider=Provider(refuses_creates=True), may_retry=code_retries
    ),
    "automatic, creates refused, retried": Variant(
        mode=_AUTOMATIC, provider=Provider(refuses_creates=True), may_retry=code_retries
    ),
    "manual, an operator decides, retried": Variant(
        mode=_MANUAL, provider=_SLOW, may_retry=code_retries, operator_fails=True
    ),
    "automatic, an operator decides, retried": Variant(
        mode=_AUTOMATIC, provider=_WORST, may_retry=code_retries, operator_fails=True
    ),
    "one step, an operator decides, retried": Variant(
        mode=Mode.ONE_STEP, may_retry=code_retries, operator_fails=True
    ),
    "manual, a cancel looks like a decline": Variant(
        mode=_MANUAL, provider=Provider(cancel_looks_declined=True)
    ),
    "automatic, slow, a cancel looks like a decline": Variant(
        mode=_AUTOMATIC,
        provider=evolve(_SLOW, cancel_looks_declined=True, acknowledges_late_cancel=True),
    ),
}
"""Variants in which no payout is paid twice, has a wrong final state or is stuck."""

UNSAFE: Final[dict[str, Variant]] = {
    "automatic, second start in the session": Variant(mode=_AUTOMATIC, decide=starts_twice),
    "manual, second start in the session": Variant(mode=_MANUAL, decide=starts_twice),
    "automatic, new session without a cancel": Variant(
        mode=_AUTOMATIC, decide=leaves_without_cancel
    ),
    "automatic, a late start reopens a session": Variant(
        mode=_AUTOMATIC, provider=Provider(late_start_revives=True)
    ),
    "manual, the provider confirms, created can't be cancelled": Variant(
        mode=_MANUAL, provider=Provider(confirms_itself=True, cancel_created=False)
    ),
    "manual, a late confirm reopens a session": Variant(
        mode=_MANUAL,
        provider=Provider(late_confirm_revives=True, times_out=True),
        bounds=QUICK,
    ),
    "automatic, the journal loses its last commit": Variant(
        mode=_AUTOMATIC, loses_last_commit=True
    ),
    "automatic, the chosen session is written late": Variant(
        mode=_AUTOMATIC, can_be_delayed=CAN_WAIT | {Event.SESSION_CHOSEN}
    ),
    "manual, answers about other sessions are accepted": Variant(
        mode=_MANUAL,
        provider=Provider(answers_about_others=True),
        compares_sessions=False,
        bounds=QUICK,
    ),
    "automatic, answers about other sessions are accepted": Variant(
        mode=_AUTOMATIC,
        provider=Provider(answers_about_others=True),
        compares_sessions=False,
        bounds=QUICK,
    ),
    "manual, only the key is compared": Variant(
        mode=_MANUAL, provider=Provider(other_journal=True), compares_journals=False, bounds=QUICK
    ),
    "automatic, only the key is compared": Variant(
        mode=_AUTOMATIC,
        provider=Provider(other_journal=True),
        compares_journals=False,
        bounds=QUICK,
    ),
    "automatic, a refused duplicate start is final": Variant(
        mode=_AUTOMATIC, provider=_DUPLICATES, decide=accepts_refused_start, bounds=QUICK
    ),
    "manual, a refused duplicate start is final": Variant(
        mode=_MANUAL, provider=_DUPLICATES, decide=accepts_refused_start, bounds=QUICK
    ),
    "automatic, a used key is treated as a refusal": Variant(
        mode=_AUTOMATIC, provider=_USED_KEYS, decide=takes_used_key_for_refusal, bounds=QUICK
    ),
    "manual, a used key is treated as a refusal": Variant(
        mode=_MANUAL, provider=_USED_KEYS, decide=takes_used_key_for_refusal, bounds=QUICK
    ),
    "manual, our cancel is treated as a decline": Variant(
        mode=_MANUAL,
        provider=Provider(cancel_looks_declined=True),
        decide=takes_cancel_for_decline,
        bounds=QUICK,
    ),
    "automatic, an unknown code is treated as a refusal": Variant(
        mode=_AUTOMATIC, decide=takes_unknown_code_for_refusal, bounds=QUICK
    ),
    "manual, an unknown code is treated as a refusal": Variant(
        mode=_MANUAL, decide=takes_unknown_code_for_refusal, bounds=QUICK
    ),
    "manual, retried whatever its session shows": Variant(
        mode=_MANUAL, may_retry=retries_always, operator_fails=True, bounds=QUICK
    ),
    "automatic, retried whatever its session shows": Variant(
        mode=_AUTOMATIC, may_retry=retries_always, operator_fails=True, bounds=QUICK
    ),
    "one step, retried": Variant(mode=Mode.ONE_STEP, may_retry=retries_always, operator_fails=True),
    "automatic, no fence": Variant(mode=_AUTOMATIC, is_fenced=False),
    "manual, no fence": Variant(mode=_MANUAL, is_fenced=False, bounds=QUICK),
}
"""Variants in which the search must find a fault; otherwise its zeros would prove nothing."""

QUICKER: Final = evolve(QUICK, sends=5)
LARGE: Final = Bounds()


def quick(name: str) -> Bounds:
    """Return bounds within which a safe variant is searched in a few seconds."""
    variant = SAFE[name]
    # A payout that is confirmed twice, once in each session, takes six sends.
    is_retried = variant.may_retry is not None and not variant.operator_fails
    return QUICK if is_retried or variant.provider == Provider() else QUICKER


def report(bounds: Bounds | None) -> None:
    """Search every variant and print a table of the counts; None means the quick bounds."""
    sys.stdout.write(
        f"{'variant':42}{'states':>10}{'twice':>8}{'wrong':>8}{'stuck':>8}{'seconds':>9}\n"
    )
    for name, variant in (SAFE | UNSAFE).items():
        if name in UNSAFE:
            found = search(variant, stop_after=0 if bounds else 1)
        else:
            found = search(evolve(variant, bounds=bounds or quick(name)))
        wrong_counts = f"{found.paid_twice:>8,}{found.wrong:>8,}{found.stuck:>8,}"
        counts = f"{found.states:>10,}{wrong_counts}{found.seconds:>9.1f}"
        sys.stdout.write(f"{name:42}{counts}\n")


if __name__ == "__main__":
    report(LARGE if sys.argv[1:] == ["large"] else None)
