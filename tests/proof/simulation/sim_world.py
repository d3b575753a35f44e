"""A simulated run: payouts, the workers that make them, and every fault, all from one seed.

The workflow is the real one, down to the transport. A seed decides how the provider behaves, which
messages are lost or late, which workers die or are paused and when, how the journal's clock jumps,
and the order of everything that could run. The checks run after every step.
"""

import asyncio
import math
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define, field
from sim_calls import Calls
from sim_checks import Broken, Checker, owner_of
from sim_loop import SimLoop
from sim_merchant import RowsCopy, SimMerchant
from sim_network import START_TIME, Network
from sim_plan import CommitLoss, Plan
from sim_worker import Code, Worker

import smartglocal_async as sg
from smartglocal_async.emulator import Permission
from smartglocal_async.emulator.bank.sessions import ItemStage
from smartglocal_async.journal.states import Step
from smartglocal_async.payouts import worker as payout_worker

_MAX_STEPS: Final = 2_000  # Steps of the loop.
_HOUR: Final = 3600.0
_MAX_LAST_WORKERS: Final = 8
_MODES: Final = 10
_ONE_STEP: Final = 3
"""One seed in ten pays in one step."""


@define(eq=False)
class World:
    """One run."""

    seed: int
    code: Code = field(factory=Code)
    events: list[tuple[object, ...]] = field(factory=list[tuple[object, ...]], init=False)
    rng: random.Random = field(init=False)
    plan: Plan = field(init=False)
    checker: Checker = field(init=False)
    loop: SimLoop = field(init=False)
    network: Network = field(init=False)
    merchants: list[SimMerchant] = field(init=False)
    workers: list[Worker] = field(factory=list[Worker], init=False)
    clock_offset: float = field(default=0.0, init=False)
    journal_faults: float = field(default=0.0, init=False)
    failure: Exception | None = field(default=None, init=False)
    """An exception of a worker that isn't documented."""
    last_commit: tuple[Any, sg.journal.Entry | None, Any] = field(
        default=(None, None, None), init=False
    )
    """The merchant, and its row before and after."""
    _copy: tuple[SimMerchant, RowsCopy] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # noqa: S311  # reproducible
        plan = Plan.choose(self.rng)
        is_one_step = self.seed % _MODES == _ONE_STEP
        self.plan = self.code.plan(plan.in_one_step() if is_one_step else plan)
        self.checker = Checker(self)
        self.loop = SimLoop(self.rng, self.checker.check)
        self.network = Network(
            self.loop,
            self.rng,
            self.plan.rules,
            self.plan.conditions,
            lambda *what: self.trace("network", *what),
            lambda: [worker for worker in self.workers if worker.accepts_webhooks],
            Calls(self),
            self.plan.has_generic_codes,
        )
        self.journal_faults = self.plan.journal_faults
        self.merchants = [SimMerchant(self, *one) for one in enumerate(self.plan.orders)]
        for merchant in self.merchants:
            if self.plan.conditions.wrong_amounts or self.plan.shares_keys:
                merchant.halts.add("conflict")

    # --- What the workers see ------------------------------------------------------------------

    def wall_clock(self) -> float:
        """Return the journal's time, which may jump."""
        return START_TIME.timestamp() + self.loop.time() + self.clock_offset

    def trace(self, *what: object) -> None:
        """Record an event."""
        self.events.append((round(self.loop.time(), 6), *what))

    def report(self, merchant: SimMerchant, key: str, outcome: sg.PayoutOutcome) -> None:
        """Record the outcome that a caller received."""
        self.trace("reported", merchant.number, key, outcome.state.value)
        # With retries a payout may be paid by the time that a caller receives its failure.
        if not outcome.is_final or (self.plan.retries and outcome.state is sg.PayoutState.FAILED):
            return
        before = merchant.outcomes.setdefault(key, outcome.state)
        if before is not outcome.state:
            raise Broken(f"{key}: reported {before}, and then {outcome.state}")
        self.checker.check_reported(merchant, key, outcome.state)

    # --- The run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Run it to the end.

        Raises:
            Broken: a check failed.

        """
        try:
            with _patched(((payout_worker, "decide", self.code.decide), *self.code.patches)):
                self.loop.run_until_complete(self._run())
        finally:
            self._clean_up()

    async def _run(self) -> None:
        lives = self.plan.lives
        while lives or any(self._is_at_work(worker) for worker in self.workers):
            at_work = sum(self._is_at_work(worker) for worker in self.workers)
            if lives and at_work < self.plan.workers:
                lives -= 1
                _ = self._start_worker(self.rng.choice(self.merchants))
                self._schedule_fault(self.workers[-1])
            await asyncio.sleep(self.rng.random() * 10)
            if self.plan.commit_loss is not None and self._loses_commits(self.plan.commit_loss):
                lives += 1
            if self.plan.retries and self.rng.random() < 0.3:
                self.network.top_up()
            if self.plan.clock_jumps and self.rng.random() < 0.2:
                self.clock_offset += self.rng.choice((-_HOUR, -60.0, 60.0, _HOUR))
                self.trace("clock", "jumps to", self.clock_offset)
            if self.loop.time() > _HOUR:
                break
        await self._settle()

    def _is_at_work(self, worker: Worker) -> bool:
        return not worker.is_dead and not worker.process.tasks[0].done()

    def _loses_commits(self, commit_loss: CommitLoss) -> bool:
        """Copy a journal, or replace it by a copy, once in a run; return whether it was replaced.

        A standby is a few seconds behind its database; a copy may have any age.
        """
        if self._copy is None or (commit_loss is CommitLoss.FAILOVER and self.rng.random() < 0.5):
            merchant = self.rng.choice(self.merchants)
            if merchant.rows is not None and not any(one.was_restored for one in self.merchants):
                self._copy = merchant, merchant.copied()
            return False
        merchant, copy = self._copy
        if merchant.was_restored or self.rng.random() < 0.5:
            return False
        self.trace(commit_loss.value, merchant.number)
        lost = merchant.commits - copy.commits
        if commit_loss is CommitLoss.RESTORED_COPY:
            for worker in self.workers:
                if worker.merchant is merchant and self._is_at_work(worker):
                    self._kill(worker)
            merchant.halts.add("forgot")
            merchant.missing_commits = "forgot" if lost else None
        else:
            merchant.external.timeline += 1
            merchant.external.commits = copy.commits
            # A webhook about a session that was chosen in the meantime shows the loss, too.
            merchant.halts |= {"quarantine", "forgot", "mismatch"}
            merchant.missing_commits = "quarantine"
        merchant.restore(copy)
        self.checker.accept_rows(merchant)
        return True

    def _start_worker(self, merchant: SimMerchant) -> "asyncio.Task[None]":
        worker = Worker(self, len(self.workers), merchant)
        self.workers.append(worker)
        return worker.begin()

    def _schedule_fault(self, worker: Worker) -> None:
        """Choose at random whether and when the worker dies or is paused, rather soon than late."""
        if self.rng.random() < self.plan.death_rate:
            steps = int(math.exp(self.rng.random() * math.log(_MAX_STEPS)))
            what = self.rng.choice((self._kill, self._pause))
            worker.process.call_after_steps(steps, lambda: what(worker))

    def _kill(self, worker: Worker) -> None:
        self.trace(worker.number, "dies")
        worker.is_dead = True
        worker.process.stop()
        if self.code.loses_last_commit:
            self._undo_last_commit()

    def _undo_last_commit(self) -> None:
        """Undo the last commit, as a power loss may do if commits aren't synced."""
        merchant, before, after = self.last_commit
        if before is not None and merchant.rows.entries.get(before.key) is after:
            self.trace("lost commit", before.key, before.step.name)
            merchant.rows.entries[before.key] = before
            self.checker.seen[merchant.number, before.key] = before
            if before.session_id is None:
                _ = merchant.rows.sessions.pop(after.session_id, None)

    def _pause(self, worker: Worker) -> None:
        seconds = self.plan.lease_seconds * (0.5 + 2 * self.rng.random())
        self.trace(worker.number, "is paused for", seconds)
        worker.process.stop()
        self.loop.call_outside(seconds, self._resume, worker)

    def _resume(self, worker: Worker) -> None:
        if worker.is_dead:
            return  # It was killed while it was paused.
        self.trace(worker.number, "goes on")
        worker.process.resume()
        self._schedule_fault(worker)

    async def _settle(self) -> None:
        """End all faults, and let new workers settle the remaining payouts."""
        self.trace("network", "ends its faults")
        self.network.end_faults()
        self.journal_faults = 0.0
        if self.plan.retries:
            self.network.top_up()
        await self._settle_all()
        if self.plan.pays_declined and self._reverse():
            for _ in range(_MAX_LAST_WORKERS):
                if self.network.undelivered:
                    await self._run_last_workers()
        self.checker.check_end()
        if self.network.protocol_errors:
            raise Broken(self.network.protocol_errors[0])

    async def _settle_all(self) -> None:
        moved = -1
        for _ in range(_MAX_LAST_WORKERS):
            await self._run_last_workers()
            before, moved = moved, len(self.checker.moves)
            if before != moved:
                continue  # A start may have arrived after the workers: the next ones see it.
            if all(merchant.is_settled(can_close=self._can_close()) for merchant in self.merchants):
                return
        raise Broken(f"not settled: {[merchant.entries for merchant in self.merchants]}")

    async def _run_last_workers(self) -> None:
        """Run one more worker for each journal; then let time pass.

        In the meantime late messages arrive, and the leases of dead workers end.
        """
        _ = await asyncio.wait([self._start_worker(merchant) for merchant in self.merchants])
        await asyncio.sleep(_HOUR)

    def _reverse(self) -> bool:
        """Let the provider pay a payout that it declined; return whether it did."""
        for merchant in self.merchants:
            failed = {
                (merchant.journal_id, one.key)
                for one in merchant.entries
                if one.step is Step.FAILED
            }
            for session in self.network.session_service.sessions.values():
                for item in session.items:
                    owner = owner_of(item)
                    if (
                        item.stage is ItemStage.DECLINED
                        and owner in failed
                        and merchant.halt is None
                    ):
                        self.checker.reversed.add(owner)
                        merchant.halts.add("conflict")
                        self.network.reverse(session, item)
                        return True
        return False

    def _can_close(self) -> bool:
        """Return whether a session that was only created can be cancelled if it must be."""
        return self.plan.mode is sg.Mode.MANUAL or self._can_cancel_created()

    def _can_cancel_created(self) -> bool:
        return self.plan.rules.cancel_created is Permission.ALLOW

    def _clean_up(self) -> None:
        """End every task, so that nothing of this run remains."""
        self.loop.after_step = lambda: None
        self.journal_faults = 1.0
        for worker in self.workers:
            worker.process.run_to_end()
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
def _patched(patches: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Replace attributes, as a planted bug does."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
