"""Batches with `approve`: the totals are known and approved before the first payout starts."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import pytest
from paying import QUICK, order

import smartglocal_async as sg

HEADER: Final = "key,amount,currency,card_token,full_name\n"


def file_of(path: Path, *rows: str) -> sg.PayoutFile:
    """Write a file and return it as a `PayoutFile`."""
    path.write_text(HEADER + "\n".join(rows), encoding="utf-8")
    return sg.PayoutFile(path)


async def run(outcomes: AsyncGenerator[sg.PayoutOutcome]) -> list[sg.PayoutOutcome]:
    """Pay to the end."""
    return [outcome async for outcome in outcomes]


class Approval:
    """An `approve` callback; keeps the totals, and how much had moved when it was called."""

    def __init__(self, provider: Any, answers: Iterable[Any] = ()) -> None:
        self.provider, self.answers = provider, iter(answers)
        self.seen: list[tuple[dict[str, int], int]] = []

    def __call__(self, found: sg.payouts.Preflight) -> Any:
        """Return the next answer."""
        self.seen.append((dict(found.totals), self.provider.report().requests))
        return next(self.answers)


@pytest.mark.parametrize("kind", [list, "file", "awaited"])
async def test_nothing_is_begun_before_the_totals_are_approved(kind, payouts, provider, tmp_path):
    """The totals of a file or list come before anything is sent; `approve` may be a coroutine."""
    rows = [f"k{n},100.00,usd,t{n},Jane" for n in range(5)]
    orders: Any = [order(f"k{n}") for n in range(5)]
    source = file_of(tmp_path / "p.csv", *rows, "j,7,jpy,t,Jane") if kind == "file" else orders
    asked = Approval(provider, [True])

    async def awaited(found: sg.payouts.Preflight) -> bool:
        await asyncio.sleep(0)
        return asked(found)

    told = await run(payouts.pay_all(source, approve=awaited if kind == "awaited" else asked))

    expected = {"jpy": 7, "usd": 50_000} if kind == "file" else {"usd": 50_000}
    assert asked.seen == [(expected, 0)]
    assert all(outcome.is_paid for outcome in told)
    assert provider.report().moved == len(told) == (6 if kind == "file" else 5)


@pytest.mark.parametrize("answer", [False, None, 1, "yes"])
async def test_what_is_not_approved_is_not_paid(answer, payouts, provider, journal):
    """Only True approves; otherwise the journal is unchanged and the source can be used again."""
    orders = [order(f"k{n}") for n in range(3)]
    asked = Approval(provider, [answer, True])
    with pytest.raises(sg.BatchStopped, match="after 0 orders: it was not approved"):
        _ = await run(payouts.pay_all(orders, approve=asked))
    assert await journal.counts() == {}
    assert provider.report().requests == 0
    assert len(await run(payouts.pay_all(orders, approve=asked))) == 3


async def test_error_of_approve_ends_the_batch(payouts, provider):
    """An error of `approve` is raised unchanged."""

    def breaks(_found: sg.payouts.Preflight) -> bool:
        raise OSError("nobody is there")

    with pytest.raises(OSError, match="nobody is there"):
        _ = await run(payouts.pay_all([order()], approve=breaks))
    assert provider.report().requests == 0


def asynchronous(orders: list[sg.PayoutOrder]) -> Any:
    """Yield the orders from an async generator."""

    async def each() -> AsyncGenerator[sg.PayoutOrder]:
        for one in orders:
            yield one

    return each()


@pytest.mark.parametrize("kind", [iter, asynchronous])
async def test_a_source_that_is_read_once(kind, payouts, provider):
    """A source that can be read only once is refused, because the check would consume it."""
    asked = Approval(provider)
    with pytest.raises(sg.InvalidRequest, match="can be read only once; with approve, give a"):
        _ = await run(payouts.pay_all(kind([order()]), approve=asked))
    assert asked.seen == []
    assert provider.report().requests == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a,1,usd,t,Jane", "b,x,usd,t,Jane", "c,y,usd,t,Jane"], "2 can't be .* line 3, col.*amou"),
        (["a,1,usd,t,Jane", "a,1,usd,t,Jane"], "1 with the key of one above.*line 3: 'a'"),
    ],
)
async def test_invalid_file(rows, words, payouts, provider, tmp_path):
    """A file with a bad row isn't offered for approval, and nothing is paid."""
    asked = Approval(provider)
    with pytest.raises(sg.InvalidRequest, match=rf"p\.csv: nothing is paid: {words}"):
        _ = await run(payouts.pay_all(file_of(tmp_path / "p.csv", *rows), approve=asked))
    assert asked.seen == []
    assert provider.report().requests == 0


async def test_rules_of_the_client_apply(connect, provider, journal):
    """A rule that only warns doesn't prevent the payout."""
    odd = [order(payment_method=sg.GlobalAccount(iban="DE00370400440532013000"))]
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        with pytest.raises(sg.InvalidRequest, match="source: nothing is paid: 1 can't be paid"):
            _ = await run(payouts.pay_all(odd, approve=Approval(provider)))
    off = sg.Settings(timing=QUICK.timing, rules=sg.RuleUse.OFF)
    async with sg.Payouts(connect(provider, settings=off), journal) as payouts:
        assert len(await run(payouts.pay_all(odd, approve=Approval(provider, [True])))) == 1


async def test_a_file_that_is_changed_while_it_is_approved(payouts, provider, tmp_path):
    """A file that changes during the approval is paid as it was checked."""
    file = file_of(tmp_path / "p.csv", "a,1.00,usd,t,Jane")

    def changes(_found: sg.payouts.Preflight) -> bool:
        _ = file_of(file.path, "a,1.00,usd,another,Jane")
        return True

    with pytest.raises(sg.InvalidRequest, match=r"p\.csv: it was changed since it was checked"):
        _ = await run(payouts.pay_all(file, approve=changes))
    assert provider.report().requests == 0


@pytest.mark.parametrize("payee", ["another", "t"])
async def test_a_file_that_is_changed_after_it_was_approved(payouts, provider, tmp_path, payee):
    """It is paid as it was approved, even if the totals are the same."""
    gap = "\n" * 100_000
    file = file_of(tmp_path / "p.csv", "a,1.00,usd,t,Jane", gap, "b,2.00,usd,t,Jane")
    async with aclosing(
        payouts.pay_all(file, approve=Approval(provider, [True]), concurrency=1)
    ) as outcomes:
        told = [await anext(outcomes)]
        with file.path.open("r+", encoding="utf-8") as same:
            _ = same.write(f"{HEADER}a,1.00,usd,t,Jane\n{gap}\nc,2.00,usd,{payee},Jane")
        told += [outcome async for outcome in outcomes]
    assert [(outcome.key, outcome.is_paid) for outcome in told] == [("a", True), ("b", True)]
    assert provider.order("c").calls == {}


async def test_a_list_that_grows_after_it_was_approved(payouts, provider):
    """The approved totals are never exceeded, even if the source yields more."""
    orders = [order("k0"), order("k1")]

    def grows(_found: sg.payouts.Preflight) -> bool:
        orders.append(order("late", 1))
        return True

    told: list[sg.PayoutOutcome] = []
    async with aclosing(payouts.pay_all(orders, approve=grows)) as outcomes:
        told += [await anext(outcomes), await anext(outcomes)]
        with pytest.raises(sg.InvalidRequest, match="'late' would pass the total of usd"):
            _ = await anext(outcomes)
    assert {outcome.key for outcome in told} == {"k0", "k1"}
    assert provider.order("late").calls == {}


async def test_check_does_not_block_the_event_loop(payouts, provider):
    """The check runs in a thread, so a slow source doesn't block the event loop."""
    looked_by: list[threading.Thread] = []

    class Slow:
        """A source that first waits for something only the event loop can do."""

        done = threading.Event()

        def __iter__(self) -> Iterator[sg.PayoutOrder]:
            looked_by.append(threading.current_thread())
            assert self.done.wait(timeout=30)
            yield order()

    asyncio.get_running_loop().call_soon(Slow.done.set)
    assert len(await run(payouts.pay_all(Slow(), approve=Approval(provider, [True])))) == 1
    assert looked_by[0] is not threading.current_thread()


async def test_a_stop_while_it_is_approved(payouts, provider):
    """After a stop during the approval nothing is paid."""

    def stops(_found: sg.payouts.Preflight) -> bool:
        payouts.stop("it is late")
        return True

    with pytest.raises(sg.BatchStopped, match="after 0 orders: it is late"):
        _ = await run(payouts.pay_all([order()], approve=stops))
    assert provider.report().requests == 0
