"""``demo``: many orders, a batch of payouts, or one payout or payment, seen from both sides."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from types import MappingProxyType
from typing import Final

from ... import emulator
from ...errors import InvalidRequest
from ...keys import PrivateKey
from ..app import DemoOptions
from ..errors import ExitCode
from ..output import write_json
from ..signals import run_async
from ..tables import cell, console
from .batch import BatchPlan, BatchResult, play_batch, show_batch, watching
from .payment_story import play_payment
from .payout_story import play_payout
from .session import (
    PROJECT,
    OrdersPlan,
    OrdersResult,
    create_many,
    create_one,
    first_call_facts,
    progress_bar,
    show_first,
    show_lines,
    show_result,
)
from .story import StoryResult, StoryStep, show_ending, show_step

_STORIES: Final[Mapping[str, Callable[[Callable[[StoryStep], None]], Awaitable[StoryResult]]]] = (
    MappingProxyType({"payout": play_payout, "payment": play_payment})
)
_ORDERS: Final = {"orders": 1000, "batch": 2000}
_FAULT_RATE: Final = 0.1
_SEED: Final = 7
_CONCURRENCY: Final = 64


def demo(options: DemoOptions) -> ExitCode:
    """Run a story, and show what both sides counted."""
    orders = options.orders or _ORDERS.get(options.story, 0)
    rate = _FAULT_RATE if options.fault_rate is None else options.fault_rate
    seed = _SEED if options.seed is None else options.seed
    concurrency = options.concurrency or _CONCURRENCY
    if options.story == "orders":
        plan = OrdersPlan(orders=orders, faults=rate, seed=seed, concurrency=concurrency)
        is_good = run_async(_create_orders(plan, as_json=options.as_json)).is_good
    elif options.story == "batch":
        batch = BatchPlan(payouts=orders, faults=rate, seed=seed, concurrency=concurrency)
        is_good = _pay_batch(batch, as_json=options.as_json).is_good
    else:
        _refuse_options(options)
        is_good = run_async(_play(options.story, as_json=options.as_json)).is_good
    return ExitCode.DONE if is_good else ExitCode.FAILED


def _refuse_options(options: DemoOptions) -> None:
    for name in ("orders", "fault_rate", "seed", "concurrency"):
        if getattr(options, name) is not None:
            problem = f"can't be used with --story {options.story}"
            raise InvalidRequest(f"--{name.replace('_', '-')}", problem)


def _pay_batch(plan: BatchPlan, *, as_json: bool) -> BatchResult:
    screen = console()
    with watching(screen, plan, is_silent=as_json) as watcher:
        result = play_batch(plan, watcher)
    if as_json:
        write_json(result.as_dict())
    else:
        show_batch(screen, result)
    return result


async def _play(story: str, *, as_json: bool) -> StoryResult:
    screen = console()
    result = await _STORIES[story](_ignore if as_json else partial(show_step, screen))
    if as_json:
        write_json(result.as_dict())
    else:
        show_ending(screen, result)
    return result


def _ignore(_: StoryStep) -> None:
    pass


async def _create_orders(plan: OrdersPlan, *, as_json: bool) -> OrdersResult:
    screen = console()
    key = PrivateKey.generate()
    script = emulator.FaultScript.drops(plan.faults, plan.seed)
    with emulator.run_in_thread(public_key=key.public, project=PROJECT) as provider:
        first = await create_one(provider, key)
    if not as_json:
        show_first(screen, first)
    with ExitStack() as stack:
        served = emulator.run_in_thread(public_key=key.public, project=PROJECT, faults=script)
        provider = stack.enter_context(served)
        if not as_json:
            screen.print(cell(f"The emulator's page: {provider.page_url}"), soft_wrap=True)
        advance = stack.enter_context(progress_bar(screen, plan, is_silent=as_json))
        result = await create_many(plan, provider, key, advance)
    if as_json:
        write_json({"first": first_call_facts(first), **result.as_dict()})
    else:
        show_result(screen, result)
        if result.is_good:
            show_lines(screen, plan)
    return result
