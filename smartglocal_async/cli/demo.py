"""``demo``: the main job, or the life of one payout or payment, from both sides of the wire."""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Final

import typer

from .. import emulator
from ..errors import InvalidRequest
from ..signing import PrivateKey
from .demo_batch import BatchPlan, BatchResult, play_batch
from .demo_batch_view import show_batch, watching
from .demo_run import PROJECT, Plan, Result, create_many, create_one
from .demo_view import meter, said_of_first, show_first, show_lines, show_result
from .failures import ExitCode, explained
from .screen import AsJson, console, write_json
from .story import Ending, Step
from .story_payment import play_payment
from .story_payout import play_payout
from .story_view import show_ending, show_step


class Story(enum.Enum):
    """What the demo plays."""

    ORDERS = "orders"
    BATCH = "batch"
    PAYOUT = "payout"
    PAYMENT = "payment"


_PLAYS: Final[Mapping[Story, Callable[[Callable[[Step], None]], Awaitable[Ending]]]] = (
    MappingProxyType({Story.PAYOUT: play_payout, Story.PAYMENT: play_payment})
)
_OF_MANY: Final = ("orders", "faults", "seed", "concurrency")
_ORDERS: Final = {Story.ORDERS: 1000, Story.BATCH: 2000}


def demo(  # noqa: PLR0913 - one option per setting
    context: typer.Context,
    *,
    story: Annotated[
        Story,
        typer.Option(
            help="Many orders, a batch of payouts whose workers are killed, "
            "or the whole life of one payout or payment."
        ),
    ] = Story.ORDERS,
    orders: Annotated[
        int | None,
        typer.Option(min=1, help="Sessions to create (1000), or payouts of the batch (2000)."),
    ] = None,
    faults: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of attempts that go wrong.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Same seed, same faults.")] = 7,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Orders in flight.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Show the main job: many sessions, many faults, one each.

    Creates one session and shows the bytes, then many against a provider that drops
    connections, and counts what both sides saw. The batch pays a file, kills its own worker with
    SIGKILL three times, goes on, and counts what both sides have. The other stories go through the
    life of one payout or payment, step by step, webhooks and a lost answer included.

    The exit code is 1 if the provider saw a duplicate, or an order got no session; in the
    other stories, if money did not move just once.
    """
    with explained(as_json=as_json):
        count = orders or _ORDERS.get(story, 0)
        if story is Story.ORDERS:
            plan = Plan(orders=count, faults=faults, seed=seed, concurrency=concurrency)
            is_good = asyncio.run(_journey(plan, as_json=as_json)).is_good
        elif story is Story.BATCH:
            batch = BatchPlan(payouts=count, faults=faults, seed=seed, concurrency=concurrency)
            is_good = _pay_batch(batch, as_json=as_json).is_good
        else:
            _refuse_options(context, story)
            is_good = asyncio.run(_play(story, as_json=as_json)).is_good
    if not is_good:
        raise typer.Exit(ExitCode.FAILED)


def _refuse_options(context: typer.Context, story: Story) -> None:
    for name in _OF_MANY:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            problem = f"belongs to the stories of many, and not to --story {story.value}"
            raise InvalidRequest(f"--{name}", problem)


def _pay_batch(plan: BatchPlan, *, as_json: bool) -> BatchResult:
    screen = console()
    with watching(screen, plan, is_silent=as_json) as watcher:
        result = play_batch(plan, watcher)
    if as_json:
        write_json(result.as_dict())
    else:
        show_batch(screen, result)
    return result


async def _play(story: Story, *, as_json: bool) -> Ending:
    screen = console()
    ending = await _PLAYS[story](_ignore if as_json else lambda step: show_step(screen, step))
    if as_json:
        write_json(ending.as_dict())
    else:
        show_ending(screen, ending)
    return ending


def _ignore(_: Step) -> None:
    pass


async def _journey(plan: Plan, *, as_json: bool) -> Result:
    screen = console()
    key = PrivateKey.generate()
    script = emulator.FaultScript.drops(plan.faults, plan.seed)
    with emulator.run_in_thread(public_key=key.public, project=PROJECT) as provider:
        first = await create_one(provider, key)
    if not as_json:
        show_first(screen, first)
    with (
        emulator.run_in_thread(public_key=key.public, project=PROJECT, faults=script) as provider,
        meter(screen, plan, is_silent=as_json) as settled,
    ):
        result = await create_many(plan, provider, key, settled)
    if as_json:
        write_json({"first": said_of_first(first), **result.as_dict()})
    else:
        show_result(screen, result)
        if result.is_good:
            show_lines(screen, plan)
    return result
