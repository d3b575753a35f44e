"""A process that pays, and its way to the rows that outlive it."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from attrs import define, frozen
from sim_loop import Process
from sim_network import URL_OF_ALL
from sim_plan import Plan
from sim_wire import Line, Stamp

import smartglocal_async as sg
from smartglocal_async.payouts import working
from smartglocal_async.payouts.protocol import Move, News, Row

if TYPE_CHECKING:
    from sim_world import World

P = ParamSpec("P")
T = TypeVar("T")
Decide = Callable[[Row, News | None], Move]
_TRIES: Final = 3
_RESUMES: Final = 0.2
_PAYS_A_BATCH: Final = 0.4


def _same(plan: Plan) -> Plan:
    return plan


@frozen(kw_only=True)
class Code:
    """What is run: the code as it is, or with a planted bug (`sim_bugs`)."""

    plan: Callable[[Plan], Plan] = _same
    """Changes what a seed chose."""

    journal: "type[SimJournal] | None" = None
    payouts: type[sg.Payouts] = sg.Payouts
    decide: Decide = working.next_move
    makes_keys: bool = False
    """Whether every try has a key of its own."""
    forgets: bool = False
    """Whether a death may take the last commit along."""


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


for _name, _method in list(vars(sg.MemoryJournal).items()):
    if inspect.iscoroutinefunction(_method) and _name not in {"open", "close"}:
        setattr(SimJournal, _name, _through(_method))


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
