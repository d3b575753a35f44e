"""Several payouts, the workers that make them, and everything that may go wrong, from one seed.

The workflow is the real one, down to the transport. What a seed chooses: how the provider behaves,
the weather between, who dies or is paused and when, where the clock of the journal jumps, and the
order of everything that could run. What must hold is looked at after every step.
"""

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from attrs import define, evolve, field, frozen
from sim_loop import Process, SimLoop
from sim_network import BEGINNING, URL_OF_ALL, Line, Network, Stamp, Weather

import smartglocal_async as sg
from smartglocal_async.emulator import WebhookScript
from smartglocal_async.emulator.rules import (
    Confirmation,
    DeclinedSession,
    Duplicates,
    KeyScope,
    Permission,
    Reaction,
    Rules,
    TimeoutWord,
)
from smartglocal_async.journal.states import Step
from smartglocal_async.payouts import working
from smartglocal_async.payouts.protocol import Move, News, Row

P = ParamSpec("P")
T = TypeVar("T")
J = TypeVar("J", bound="SimJournal")
Decide = Callable[[Row, News | None], Move]
_TRIES: Final = 3
_RESUMES: Final = 0.2
_PAYS_A_BATCH: Final = 0.4
_LONGEST_LIFE: Final = 2_000  # Steps of the loop.
_HOUR: Final = 3600.0
_LAST_LIVES: Final = 8
# Two succeed plainly; declined; `error`, then well; `error`, then failed (see `emulator.OUTCOMES`).
_AMOUNTS: Final = (10_000, 10_000, 10_000, 66601, 66620, 66621)


class Broken(AssertionError):
    """Something that must hold doesn't."""


@frozen(kw_only=True)
class Code:
    """What is run: the code as it is, or with a planted bug (`sim_bugs`)."""

    journal: "type[SimJournal] | None" = None
    payouts: type[sg.Payouts] = sg.Payouts
    decide: Decide = working.next_move
    makes_keys: bool = False
    """Whether every try has a key of its own."""
    forgets: bool = False
    """Whether a death may take the last commit along."""


@frozen(kw_only=True)
class Plan:
    """What a seed chose before anything ran."""

    mode: sg.Mode
    rules: Rules
    weather: Weather
    amounts: tuple[int, ...]
    """Of the payouts that are to be made."""
    workers: int
    lives: int
    lease_seconds: float
    journal_trouble: float
    jumps: bool
    death: float
    """The chance of a worker to die, or to be paused, at some step."""

    @classmethod
    def of(cls, dice: random.Random) -> "Plan":
        """Choose."""
        mode = dice.choice((sg.Mode.MANUAL, sg.Mode.AUTOMATIC))
        return cls(
            mode=mode,
            rules=_rules(dice, mode),
            weather=Weather(
                trouble=dice.choice((0.0, 0.1, 0.3, 0.5)),
                spoilt=dice.choice((0.0, 0.05, 0.2)),
                most_late_seconds=dice.choice((1.0, 30.0, 300.0)),
                webhooks=_webhooks(dice),
            ),
            amounts=tuple(dice.choices(_AMOUNTS, k=dice.randrange(1, 4))),
            workers=dice.choice((1, 2, 2, 3)),
            lives=dice.randrange(1, 5),
            lease_seconds=dice.choice((2.0, 10.0, 30.0)),
            journal_trouble=dice.choice((0.0, 0.0, 0.02, 0.1)),
            jumps=dice.random() < 0.3,
            death=dice.choice((0.0, 0.5, 0.9)),
        )


def _rules(dice: random.Random, mode: sg.Mode) -> Rules:
    """Give a provider that keeps the promises A1 to A5, and may do anything else."""
    return Rules(
        confirmation=Confirmation[mode.name],
        second_start=dice.choice(tuple(Permission)),
        idempotency_header=dice.choice((Reaction.IGNORE, Reaction.IGNORE, Reaction.REFUSE)),
        key_scope=dice.choice(tuple(KeyScope)),
        duplicates=dice.choice(tuple(Duplicates)),
        cancel_created=dice.choice((Permission.ALLOW, Permission.ALLOW, Permission.REFUSE)),
        second_confirm=dice.choice(tuple(Reaction)),
        late_cancel=dice.choice(tuple(Reaction)),
        confirm_minutes=dice.choice((0.05, 1.0, 240.0)),
        confirm_timeout=dice.choice(tuple(TimeoutWord)),
        declined_session=dice.choice((DeclinedSession.CANCELLED, DeclinedSession.ACCEPTED)),
        finished_after_cancel=dice.random() < 0.5,
        processing_seconds=dice.choice((0.0, 0.0, 0.5, 20.0)),
        status_lag_seconds=dice.choice((0.0, 0.0, 2.0)),
        error_http_status=dice.choice((400, 200)),
    )


def _webhooks(dice: random.Random) -> WebhookScript:
    return WebhookScript(
        lost=dice.choice((0.0, 0.5, 1.0)),
        duplicated=dice.choice((0.0, 0.3)),
        delayed=dice.choice((0.0, 0.5)),
        delay_seconds=dice.choice((5.0, 120.0, 600.0)),
        in_order=dice.random() < 0.5,
        seed=dice.randrange(2**32),
    )


def _through(
    method: "Callable[Concatenate[Any, P], Awaitable[T]]",
) -> "Callable[Concatenate[Any, P], Awaitable[T]]":
    """Ask a store that is somewhere else: it takes a moment, and either way may be lost."""

    async def asked(journal: "SimJournal", *args: P.args, **kwargs: P.kwargs) -> T:
        await journal.store.travel()
        journal.store.is_touched = True
        done = await method(journal, *args, **kwargs)
        await journal.store.travel()
        return done

    return asked


@define(eq=False)
class Store:
    """The rows, which outlive every worker, and the way to them."""

    world: "World"
    rows: Any = None
    is_touched: bool = False
    """Whether somebody may have written since the last look."""

    async def travel(self) -> None:
        """Take a moment; sometimes the connection breaks, before or after the work is done."""
        world = self.world
        await asyncio.sleep(world.dice.random() * 0.01)
        if world.dice.random() < world.journal_trouble:
            raise sg.JournalUnusable("the connection to the journal broke")


class SimJournal(sg.MemoryJournal):
    """One worker's way to the rows that all share."""

    def __init__(self, store: Store) -> None:
        super().__init__(unsafe=True, clock=store.world.wall_clock)
        self.store = store
        self.journal_id, self.secret = "journal", b"secret"
        self._rows = store.rows = store.rows or self._rows

    accept = _through(sg.MemoryJournal.accept)
    accept_many = _through(sg.MemoryJournal.accept_many)
    find = _through(sg.MemoryJournal.find)
    claim = _through(sg.MemoryJournal.claim)
    advance = _through(sg.MemoryJournal.advance)
    renew = _through(sg.MemoryJournal.renew)
    release = _through(sg.MemoryJournal.release)
    open_entries = _through(sg.MemoryJournal.open_entries)
    by_session = _through(sg.MemoryJournal.by_session)
    halt = _through(sg.MemoryJournal.halt)


class Worker:
    """A process that pays, and may die or be paused at any step."""

    def __init__(self, world: "World", number: int) -> None:
        self.world, self.number = world, number
        self.process = Process(world.loop)
        self.payouts: sg.Payouts | None = None
        self.pool = sg.SessionPool(session=Line(world.network))
        self.is_dead = False

    @property
    def listens(self) -> bool:
        """Whether a webhook would reach it, be it to wait."""
        return self.payouts is not None and not self.is_dead

    def hear(self, event: sg.WebhookEvent, heard: "asyncio.Future[bool]") -> None:
        """Take a webhook, and say whether it was taken."""
        _ = self.process.spawn(self._guarded(partial(self._notice, event, heard)))

    def begin(self) -> "asyncio.Task[None]":
        """Let it live."""
        self._trace("begins")
        return self.process.spawn(self._guarded(self._live))

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something that may end with the errors that are promised, and with no other."""
        try:
            await work()
        except sg.SmartGlocalError as error:
            self._trace("raised", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - it is for the world to end
            self.world.failure = error

    async def _notice(self, event: sg.WebhookEvent, heard: "asyncio.Future[bool]") -> None:
        try:
            assert self.payouts is not None
            _ = await self.payouts.notice(event)
        except sg.SmartGlocalError as error:
            self._trace("webhook not taken", type(error).__name__)
        else:
            if not heard.done():
                heard.set_result(True)

    async def _live(self) -> None:
        """Pay every order in one of the ways that there are."""
        world = self.world
        async with world.code.payouts(
            self._client(),
            world.journal(),
            mode=world.plan.mode,
            lease_seconds=world.plan.lease_seconds,
            fault_point=self._trace,
        ) as payouts:
            self.payouts = payouts
            way = world.dice.random()
            if way < _RESUMES:
                await self._hear_of(payouts.resume(self._orders().get, deadline=20.0))
            elif way < _PAYS_A_BATCH:
                orders = self._orders().values()
                await self._hear_of(payouts.pay_all(orders, concurrency=2, deadline=20.0))
            async with asyncio.TaskGroup() as group:
                for order in world.dice.sample(world.orders, len(world.orders)):
                    _ = group.create_task(self._pay(payouts, order))

    def _client(self) -> sg.SmartGlocal:
        loop, network = self.world.loop, self.world.network
        timing = sg.Timing(monotonic=loop.time, dice=loop.dice.random, now=network.now)
        settings = sg.Settings(timing=timing, rules=sg.RuleUse.OFF)
        stamp: Any = Stamp()
        return sg.SmartGlocal("demo", stamp, URL_OF_ALL, settings=settings, pool=self.pool)

    def _orders(self) -> dict[str, sg.PayoutOrder]:
        orders = [self.world.keyed(order) for order in self.world.orders]
        return {order.key: order for order in orders}

    async def _hear_of(self, outcomes: AsyncGenerator[sg.PayoutOutcome]) -> None:
        try:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    self.world.told(outcome.key, outcome)
        except sg.SmartGlocalError as error:
            self._trace("raised", type(error).__name__)

    async def _pay(self, payouts: sg.Payouts, order: sg.PayoutOrder) -> None:
        world = self.world
        for _ in range(_TRIES):
            await asyncio.sleep(world.dice.random() * 2)
            asked = world.keyed(order)
            try:
                outcome = await payouts.pay(asked, deadline=world.dice.choice((1.0, 10.0, 60.0)))
            except sg.SmartGlocalError as error:
                self._trace("raised", type(error).__name__, order.key)
                continue
            world.told(asked.key, outcome)
            if outcome.state is not sg.PayoutState.OPEN:
                return

    def _trace(self, *what: object) -> None:
        self.world.trace(self.number, *what)


@define(eq=False)
class World:
    """One run."""

    seed: int
    code: Code = Code()
    events: list[tuple[object, ...]] = field(factory=list[tuple[object, ...]], init=False)
    dice: random.Random = field(init=False)
    plan: Plan = field(init=False)
    loop: SimLoop = field(init=False)
    network: Network = field(init=False)
    store: Store = field(init=False)
    orders: list[sg.PayoutOrder] = field(init=False)
    workers: list[Worker] = field(factory=list[Worker], init=False)
    clock_offset: float = field(default=0.0, init=False)
    journal_trouble: float = field(default=0.0, init=False)
    outcomes: dict[str, sg.PayoutState] = field(factory=dict, init=False)
    keys: dict[str, list[str]] = field(factory=dict, init=False)
    """The keys under which each order was asked for."""
    failure: Exception | None = field(default=None, init=False)
    """What a worker raised that nobody was promised."""
    last_commit: tuple[sg.Entry | None, Any] = field(default=(None, None), init=False)
    _seen: dict[str, sg.Entry] = field(factory=dict, init=False)
    _moved: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311  # chance that can be repeated
        self.plan = Plan.of(self.dice)
        self.loop = SimLoop(self.dice, self.check)
        self.network = Network(
            self.loop,
            self.dice,
            self.plan.rules,
            self.plan.weather,
            lambda *what: self.trace("network", *what),
            lambda: [worker for worker in self.workers if worker.listens],
        )
        self.store = Store(self)
        self.journal_trouble = self.plan.journal_trouble
        self.orders = [_order(number, amount) for number, amount in enumerate(self.plan.amounts)]

    # --- What the workers see ------------------------------------------------------------------

    def wall_clock(self) -> float:
        """Give the journal's time, which may jump."""
        return BEGINNING.timestamp() + self.loop.time() + self.clock_offset

    def journal(self) -> SimJournal:
        """Give a way to the rows."""
        return (self.code.journal or SimJournal)(self.store)

    def keyed(self, order: sg.PayoutOrder) -> sg.PayoutOrder:
        """Give an order as it is asked for."""
        keys = self.keys.setdefault(order.key, [])
        if self.code.makes_keys:
            order = evolve(order, key=f"{order.key}-{len(keys)}")
        keys.append(order.key)
        return order

    def trace(self, *what: object) -> None:
        """Note what happened."""
        self.events.append((round(self.loop.time(), 6), *what))

    def told(self, key: str, outcome: sg.PayoutOutcome) -> None:
        """Take what a worker was told."""
        self.trace("told", key, outcome.state.value)
        if not outcome.is_final:
            return
        before = self.outcomes.setdefault(key, outcome.state)
        if before is not outcome.state:
            raise Broken(f"{key}: told {before}, and then {outcome.state}")

    # --- The run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Run it to the end.

        Raises:
            Broken: something didn't hold.

        """
        try:
            with _deciding(self.code.decide):
                self.loop.run_until_complete(self._run())
        finally:
            self._put_away()

    async def _run(self) -> None:
        lives = self.plan.lives
        while lives or any(self._is_at_work(worker) for worker in self.workers):
            at_work = sum(self._is_at_work(worker) for worker in self.workers)
            if lives and at_work < self.plan.workers:
                lives -= 1
                _ = self._begin_life()
                self._threaten(self.workers[-1])
            await asyncio.sleep(self.dice.random() * 10)
            if self.plan.jumps and self.dice.random() < 0.2:
                self.clock_offset += self.dice.choice((-_HOUR, -60.0, 60.0, _HOUR))
                self.trace("clock", "jumps to", self.clock_offset)
            if self.loop.time() > _HOUR:
                break
        await self._settle()

    def _is_at_work(self, worker: Worker) -> bool:
        return not worker.is_dead and not worker.process.tasks[0].done()

    def _begin_life(self) -> "asyncio.Task[None]":
        worker = Worker(self, len(self.workers))
        self.workers.append(worker)
        return worker.begin()

    def _threaten(self, worker: Worker) -> None:
        """Choose when something happens to it, if anything does: soon, more likely than late."""
        if self.dice.random() < self.plan.death:
            steps = int(math.exp(self.dice.random() * math.log(_LONGEST_LIFE)))
            what = self.dice.choice((self._kill, self._pause))
            worker.process.strike_after(steps, lambda: what(worker))

    def _kill(self, worker: Worker) -> None:
        self.trace(worker.number, "dies")
        worker.is_dead = True
        worker.process.stop()
        if self.code.forgets:
            self._forget()

    def _forget(self) -> None:
        """Undo the last commit, as a loss of power may do where commits aren't synced."""
        before, after = self.last_commit
        rows = self.store.rows
        if before is not None and rows.entries[before.key] is after:
            self.trace("forgotten", before.key, before.step.name)
            rows.entries[before.key] = self._seen[before.key] = before
            if before.session_id is None:
                _ = rows.sessions.pop(after.session_id, None)

    def _pause(self, worker: Worker) -> None:
        seconds = self.plan.lease_seconds * (0.5 + 2 * self.dice.random())
        self.trace(worker.number, "is paused for", seconds)
        worker.process.stop()
        self.loop.later(seconds, self._go_on, worker)

    def _go_on(self, worker: Worker) -> None:
        self.trace(worker.number, "goes on")
        worker.process.go_on()
        self._threaten(worker)

    async def _settle(self) -> None:
        """End all trouble, and have a fresh worker settle what is left."""
        self.trace("network", "clears up")
        self.network.clear_up()
        self.journal_trouble = 0.0
        for _ in range(_LAST_LIVES):
            _ = await asyncio.wait([self._begin_life()])
            # What is late arrives meanwhile, and every lease of the dead ends.
            await asyncio.sleep(_HOUR)
            if self._is_settled():
                return
        raise Broken(f"not settled: {self._rows()}")

    def _is_settled(self) -> bool:
        ends = {step for step in Step if step.is_final or step is Step.UNKNOWN}
        if self.plan.mode is sg.Mode.AUTOMATIC and not self._can_cancel_created():
            ends.add(Step.CANCELLING)  # Without A3 it stays there, and is not paid anew.
        return all(entry.step in ends for entry in self._rows())

    def _can_cancel_created(self) -> bool:
        return self.plan.rules.cancel_created is Permission.ALLOW

    def _put_away(self) -> None:
        """End every task, so that nothing of this run is left to be collected."""
        self.loop.after_step = lambda: None
        self.journal_trouble = 1.0
        for worker in self.workers:
            worker.process.free()
        tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        for task in tasks:
            _ = task.cancel()
        self.loop.run_until_complete(self._end(tasks))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    async def _end(self, tasks: "list[asyncio.Task[Any]]") -> None:
        if tasks:
            _ = await asyncio.wait(tasks)
        for worker in self.workers:
            await worker.pool.close()

    # --- What must hold ------------------------------------------------------------------------

    def _rows(self) -> list[sg.Entry]:
        return [] if self.store.rows is None else list(self.store.rows.entries.values())

    def check(self) -> None:
        """Look at everything that changed in a step."""
        if self.failure is not None:
            raise Broken(f"a worker raised {self.failure!r}") from self.failure
        moved = self.network.desk.bank._counts.moved
        if moved == self._moved and not self.store.is_touched:
            return
        self.store.is_touched = False
        for entry in self._rows():
            before = self._seen.get(entry.key)
            if before is not entry:
                self._check_row(before, entry)
                self.last_commit = before, entry
                self._seen[entry.key] = entry
        if moved != self._moved:
            self._moved = moved
            self._check_moves()
        self._check_truth()

    def _check_row(self, before: sg.Entry | None, entry: sg.Entry) -> None:
        self.trace("row", entry.key, entry.step.name, entry.session_id, entry.fence)
        if before is None:
            return
        if entry.fence < before.fence:
            raise Broken(f"{entry.key}: the fence fell from {before.fence} to {entry.fence}")
        if before.step.is_final and entry.step is not before.step:
            raise Broken(f"{entry.key}: {before.step.name} was final, and is {entry.step.name}")
        if None not in {before.session_id, entry.session_id} != {entry.session_id}:
            words = f"{before.session_id} was chosen, and is {entry.session_id}"
            raise Broken(f"{entry.key}: {words}, and was never left")

    def _check_moves(self) -> None:
        """Money moves once, and in the session that the row names."""
        for name, keys in self.keys.items():
            movements = self._movements(keys)
            if not movements:
                continue
            self.trace("money", name, *(movement.session_id for movement in movements))
            if len(movements) > 1:
                raise Broken(f"{name}: money moved {len(movements)} times")
            rows = [entry for entry in self._rows() if entry.key in keys]
            if movements[0].session_id not in {entry.session_id for entry in rows}:
                raise Broken(f"{name}: money moved in {movements[0].session_id}, for {rows}")

    def _movements(self, keys: list[str]) -> list[Any]:
        bank = self.network.desk.bank
        return [move for key in sorted(set(keys)) for move in bank.order(key).movements]

    def _check_truth(self) -> None:
        """No final row lies, and nobody saw money move that wasn't confirmed."""
        for entry in self._rows():
            if not entry.step.is_final:
                continue
            moved = len(self._movements([entry.key]))
            if moved != (entry.step is Step.SUCCEEDED):
                raise Broken(f"{entry.key}: {entry.step.name}, and money moved {moved} times")
        halt = self.store.rows.halt()
        if halt is not None:
            raise Broken(f"halted without a reason: {halt.reason}")


@contextmanager
def _deciding(decide: Decide) -> Iterator[None]:
    """Have the workers decide like this."""
    before, working.next_move = working.next_move, decide
    try:
        yield
    finally:
        working.next_move = before


def _order(number: int, amount: int) -> sg.PayoutOrder:
    return sg.PayoutOrder(
        key=f"payout-{number}",
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(amount, "usd"),
    )
