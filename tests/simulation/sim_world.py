"""Several payouts, the workers that make them, and everything that may go wrong, from one seed.

The workflow is the real one, down to the transport. What a seed chooses: how the provider behaves,
the weather between, who dies or is paused and when, where the clock of the journal jumps, and the
order of everything that could run. What must hold is looked at after every step.
"""

import asyncio
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define, evolve, field
from sim_judge import Broken, Judge
from sim_loop import SimLoop
from sim_network import BEGINNING, Network
from sim_plan import Plan
from sim_worker import Code, Decide, SimJournal, Store, Worker

import smartglocal_async as sg
from smartglocal_async.emulator import Permission
from smartglocal_async.journal.states import Step
from smartglocal_async.payouts import working

_LONGEST_LIFE: Final = 2_000  # Steps of the loop.
_HOUR: Final = 3600.0
_LAST_LIVES: Final = 8


@define(eq=False)
class World:
    """One run."""

    seed: int
    code: Code = field(factory=Code)
    events: list[tuple[object, ...]] = field(factory=list[tuple[object, ...]], init=False)
    dice: random.Random = field(init=False)
    plan: Plan = field(init=False)
    judge: Judge = field(init=False)
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

    def __attrs_post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311  # chance that can be repeated
        self.plan = self.code.plan(Plan.of(self.dice))
        self.judge = Judge(self)
        self.loop = SimLoop(self.dice, self.judge.check)
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
        self.orders = self.plan.orders

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
            rows.entries[before.key] = self.judge.seen[before.key] = before
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
        raise Broken(f"not settled: {self.judge.rows()}")

    def _is_settled(self) -> bool:
        ends = {step for step in Step if step.is_final or step is Step.UNKNOWN}
        if self.plan.mode is sg.Mode.AUTOMATIC and not self._can_cancel_created():
            ends.add(Step.CANCELLING)  # Without A3 it stays there, and is not paid anew.
        return all(entry.step in ends for entry in self.judge.rows())

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


@contextmanager
def _deciding(decide: Decide) -> Iterator[None]:
    """Have the workers decide like this."""
    before, working.next_move = working.next_move, decide
    try:
        yield
    finally:
        working.next_move = before
