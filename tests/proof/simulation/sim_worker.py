"""A simulated process that pays, and its access to rows that outlive it."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from attrs import frozen
from sim_loop import Process
from sim_merchant import SimMerchant
from sim_network import SERVER_URL
from sim_plan import Plan
from sim_wire import FakeConnection, FakeSigner

import smartglocal_async as sg
from smartglocal_async.journal.entries import Halt, HaltKind
from smartglocal_async.journal.states import Step
from smartglocal_async.journal.transitions import Transitions
from smartglocal_async.payouts import worker
from smartglocal_async.payouts.protocol import Decision, Observation, Situation

if TYPE_CHECKING:
    from sim_world import World

P = ParamSpec("P")
T = TypeVar("T")
Decide = Callable[[Situation, Observation | None], Decision]
_TRIES: Final = 3
_RESUMES: Final = 0.2
_PAYS_BATCH: Final = 0.4
_RETRIES: Final = 0.7
_DECIDES: Final = 0.3


def _unchanged(plan: Plan) -> Plan:
    return plan


@frozen(kw_only=True)
class Code:
    """The code to run: unchanged, or with a planted bug (`sim_bugs`)."""

    plan: Callable[[Plan], Plan] = _unchanged
    """Changes the plan of a seed."""

    journal: "type[SimJournal] | None" = None
    payouts: type[sg.Payouts] = sg.Payouts
    decide: Decide = worker.decide
    new_key_per_attempt: bool = False
    """Whether each attempt uses a new key."""
    loses_last_commit: bool = False
    """Whether the last commit may be lost when a worker dies."""
    patches: tuple[tuple[Any, str, Any], ...] = ()
    """Replacements during the run: object, attribute name, new value."""
    refusal_codes: frozenset[str] = frozenset()
    """Error codes that the client is set to treat as refusals."""


def _over_network(
    method: "Callable[Concatenate[Any, P], Awaitable[T]]",
) -> "Callable[Concatenate[Any, P], Awaitable[T]]":
    """Call a store over a network, where the request or the answer may be lost."""

    async def call(journal: "SimJournal", *args: P.args, **kwargs: P.kwargs) -> T:
        await journal.round_trip()
        journal.compare_timelines()
        journal.merchant.is_touched = True
        done = await method(journal, *args, **kwargs)
        await journal.round_trip()
        return done

    return call


class SimJournal(sg.journal.MemoryJournal):
    """A worker's access to the rows that all workers share."""

    def __init__(self, merchant: SimMerchant) -> None:
        super().__init__(unsafe=True, clock=merchant.world.wall_clock)
        self.merchant, self._timeline = merchant, 0
        self.journal_id, self.secret = merchant.journal_id, merchant.journal_id.encode()
        self._rows = merchant.rows = merchant.rows or self._rows

    async def open(self, scope: str) -> None:
        """Open the journal, and compare it with the counters outside."""
        await super().open(scope)
        self.compare_commits()
        self.compare_timelines()

    def compare_commits(self) -> None:
        """Halt payouts if the rows lack commits, as a SQLite journal does with its file."""
        merchant = self.merchant
        if merchant.commits < merchant.external.commits:
            reason = f"it had {merchant.external.commits} commits, and has {merchant.commits}"
            self._rows.brake = Halt(kind=HaltKind.FORGOT, reason=reason)
        merchant.external.commits = merchant.commits

    def compare_timelines(self) -> None:
        """Halt payouts if the database is another one, as each connection to PostgreSQL does."""
        merchant, now = self.merchant, self.merchant.external.timeline
        if self._timeline == now:
            return
        self._timeline = now
        if merchant.timeline != now:
            reason = f"the timeline was {merchant.timeline}, and is {now}"
            self._rows.brake = Halt(kind=HaltKind.QUARANTINE, reason=reason)
            merchant.timeline = now

    async def round_trip(self) -> None:
        """Wait a moment; sometimes the connection breaks, before or after the work is done."""
        world = self.merchant.world
        await asyncio.sleep(world.rng.random() * 0.01)
        if world.rng.random() < world.journal_faults:
            raise sg.JournalUnusable("the connection to the journal broke")

    @contextmanager
    def _write(self) -> Generator[Transitions]:
        with self._writing() as writing:
            yield writing
        self.merchant.count()

    @contextmanager
    def _writing(self) -> Generator[Transitions]:
        with super()._write() as writing:
            yield writing


for _name, _method in list(vars(sg.journal.MemoryJournal).items()):
    if inspect.iscoroutinefunction(_method) and _name not in {"open", "close"}:
        setattr(SimJournal, _name, _over_network(_method))


class Worker:
    """A process that pays, and may die or be paused at any step."""

    def __init__(self, world: "World", number: int, merchant: SimMerchant) -> None:
        self.world, self.number, self.merchant = world, number, merchant
        self.process = Process(world.loop)
        self.payouts: sg.Payouts | None = None
        self.pool = sg.SessionPool(session=FakeConnection(world.network, number))
        self.is_dead = False

    @property
    def accepts_webhooks(self) -> bool:
        """Whether it can receive webhooks."""
        return self.payouts is not None and not self.is_dead

    def receive(self, event: sg.WebhookEvent, accepted: "asyncio.Future[bool]") -> None:
        """Handle a webhook, and set the result to whether it was accepted."""
        _ = self.process.spawn(self._guarded(partial(self._notice, event, accepted)))

    def begin(self) -> "asyncio.Task[None]":
        """Start the worker."""
        self._trace("begins")
        return self.process.spawn(self._guarded(self._live))

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine that may raise only the documented errors."""
        try:
            await work()
        except sg.SmartGlocalError as error:
            self._trace("raised", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - it is for the world to end
            self.world.failure = error

    async def _notice(self, event: sg.WebhookEvent, accepted: "asyncio.Future[bool]") -> None:
        try:
            if self.payouts is None:
                raise sg.Misuse("it ended meanwhile")
            _ = await self.payouts.handle_event(event)
        except sg.SmartGlocalError as error:
            self._trace("webhook not taken", type(error).__name__)
        else:
            if not accepted.done():
                accepted.set_result(True)

    async def _live(self) -> None:
        """Pay every order in one of the possible ways."""
        world = self.world
        async with world.code.payouts(
            self._client(),
            (world.code.journal or SimJournal)(self.merchant),
            mode=world.plan.mode,
            accept_unknown=world.plan.mode is sg.Mode.ONE_STEP,
            lease_seconds=world.plan.lease_seconds,
            fault_point=self._trace,
        ) as payouts:
            self.payouts = payouts
            try:
                await self._pay_all(payouts)
            finally:
                self.payouts = None

    async def _pay_all(self, payouts: sg.Payouts) -> None:
        way = self.world.rng.random()
        if way < _RESUMES:
            await self._report_all(payouts.settle(self._orders().get, deadline=20.0))
        elif way < _PAYS_BATCH:
            orders = self._orders().values()
            await self._report_all(payouts.pay_all(orders, concurrency=2, deadline=20.0))
        for number in range(self.world.plan.rounds):
            if number:
                await self._operate(payouts)
            async with asyncio.TaskGroup() as group:
                for order in self.world.rng.sample(self.merchant.orders, len(self.merchant.orders)):
                    _ = group.create_task(self._pay(payouts, order))

    async def _operate(self, payouts: sg.Payouts) -> None:
        """Retry what failed, and write open payouts as failed, as an operator may."""
        world, merchant = self.world, self.merchant
        for entry in merchant.entries:
            try:
                if entry.step is Step.FAILED and world.rng.random() < _RETRIES:
                    codes: Any = {entry.code}
                    _ = await payouts.retry(entry.key, codes=codes)
                elif world.plan.decides and world.rng.random() < _DECIDES:
                    merchant.decided.add(entry.key)
                    merchant.halts.add("conflict")  # Its session may be paid all the same.
                    _ = await payouts.decide(entry.key, is_paid=False, reason="so it seems")
            except sg.SmartGlocalError as error:
                self._trace("not retried", entry.key, str(error))

    def _client(self) -> sg.SmartGlocal:
        loop, network = self.world.loop, self.world.network
        timing = sg.Timing(monotonic=loop.time, random=loop.rng.random, now=network.now)
        codes = self.world.code.refusal_codes
        settings = sg.Settings(timing=timing, rules=sg.RuleUse.OFF, refusal_codes=codes)
        stamp: Any = FakeSigner()
        return sg.SmartGlocal("demo", stamp, SERVER_URL, settings=settings, pool=self.pool)

    def _orders(self) -> dict[str, sg.PayoutOrder]:
        orders = [self.merchant.next_order(order) for order in self.merchant.orders]
        return {order.key: order for order in orders}

    async def _report_all(self, outcomes: AsyncGenerator[sg.PayoutOutcome]) -> None:
        try:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    self.world.report(self.merchant, outcome.key, outcome)
        except sg.SmartGlocalError as error:
            self._trace("raised", type(error).__name__)

    async def _pay(self, payouts: sg.Payouts, order: sg.PayoutOrder) -> None:
        world = self.world
        for _ in range(_TRIES):
            await asyncio.sleep(world.rng.random() * 2)
            call = self.merchant.next_order(order)
            try:
                outcome = await payouts.pay(call, deadline=world.rng.choice((1.0, 10.0, 60.0)))
            except sg.SmartGlocalError as error:
                self._trace("raised", type(error).__name__, order.key)
                continue
            world.report(self.merchant, call.key, outcome)
            if outcome.state is not sg.PayoutState.OPEN:
                return

    def _trace(self, *what: object) -> None:
        self.world.trace(self.number, *what)
