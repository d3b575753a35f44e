"""``demo``: the main job, shown from both sides of the wire."""

import asyncio
from typing import Annotated

import typer

from .. import emulator
from ..signing import PrivateKey
from .demo_run import PROJECT, Plan, Result, create_many, create_one
from .demo_view import meter, said_of_first, show_first, show_lines, show_result
from .failures import ExitCode, explained
from .screen import AsJson, console, write_json


def demo(
    *,
    orders: Annotated[int, typer.Option(min=1, help="Sessions to create at once.")] = 1000,
    faults: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of attempts that go wrong.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Same seed, same faults.")] = 7,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Orders in flight.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Show the main job: many sessions, many faults, one each.

    Creates one session and shows the bytes, then many against a provider that drops
    connections, and counts what both sides saw.

    The exit code is 1 if the provider saw a duplicate, or an order got no session.
    """
    with explained(as_json=as_json):
        plan = Plan(orders=orders, faults=faults, seed=seed, concurrency=concurrency)
        result = asyncio.run(_journey(plan, as_json=as_json))
    if not result.is_good:
        raise typer.Exit(ExitCode.FAILED)


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
