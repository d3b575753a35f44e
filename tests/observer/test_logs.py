"""Events in the log: constant messages with their fields in the text and as attributes."""

import logging
import subprocess
import sys

import attrs
import pytest
from paying import QUICK, order

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.envelope import AttemptResult
from smartglocal_async.observer import events, logs

REQUEST = sg.CreateSession(metadata={"order": 1})
EVENTS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, events.ObserverEvent)
    if kind is not events.ObserverEvent
]
VALUES = {
    "happened": AttemptResult.UNKNOWN,
    "phase": events.BatchPhase.RUNNING,
    "states": {"succeeded": 1},
    "error": None,
    "fault": None,
    "where": "handler",
}


def example(kind: type[events.ObserverEvent], **values: object) -> events.ObserverEvent:
    """Return an event with a value in each field."""
    fields = {}
    for field in attrs.fields(kind):
        sample = "x" if "str" in str(field.type) else 1
        fields[field.name] = VALUES.get(field.name, sample)
    return kind(**(fields | values))


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event(kind, caplog) -> None:
    """Each has a line of its own, whose constant message fits its fields."""
    caplog.set_level(logging.DEBUG, "smartglocal_async")
    logs.log(example(kind))

    [record] = caplog.records
    assert record.sg_event == kind.name
    assert record.args
    assert "%" not in record.getMessage()
    for name, value in events.facts(example(kind)).items():
        assert vars(record)[f"sg_{name}"] == value


@pytest.mark.parametrize("kind", EVENTS)
def test_events_without_values(kind, caplog) -> None:
    """A field that is None is shown as a dash."""
    caplog.set_level(logging.DEBUG, "smartglocal_async")
    nothing = {
        field.name: None
        for field in attrs.fields(kind)
        if "None" in str(field.type) and field.name != "where"
    }
    logs.log(example(kind, **nothing))
    [record] = caplog.records
    assert "None" not in record.getMessage()


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({"outcome": "succeeded", "stopped_by": None}, logging.DEBUG),
        ({"outcome": "refused", "stopped_by": None}, logging.INFO),
        ({"outcome": "cancelled", "stopped_by": None}, logging.INFO),
        ({"outcome": "unknown", "stopped_by": None}, logging.WARNING),
        ({"outcome": "not_sent", "stopped_by": "attempts"}, logging.INFO),
        ({"outcome": "not_sent", "stopped_by": "budget"}, logging.WARNING),
    ],
)
def test_levels_of_a_call(values, level, caplog) -> None:
    """An unknown outcome and an exhausted budget are warnings."""
    caplog.set_level(logging.DEBUG, "smartglocal_async")
    logs.log(example(events.CallEnded, **values))
    [record] = caplog.records
    assert record.levelno == level
    assert ("budget" in record.msg) == (values["stopped_by"] == "budget")


@pytest.mark.parametrize(
    ("state", "level"), [("unknown", logging.WARNING), ("failed", logging.INFO)]
)
def test_levels_of_a_payout(state, level, caplog) -> None:
    """A payout whose result nothing can show is a warning."""
    caplog.set_level(logging.DEBUG, "smartglocal_async")
    logs.log(example(events.PayoutEnded, state=state, replayed=False))
    assert [record.levelno for record in caplog.records] == [level]


async def test_retries_without_an_observer(run_provider, connect, clock, caplog) -> None:
    """At INFO, retries and the unknown outcome are logged, and nothing else."""
    caplog.set_level(logging.INFO, "smartglocal_async")
    provider = run_provider(faults=FaultScript((Fault(FaultKind.GARBAGE, rate=1),)))
    settings = sg.Settings(timing=clock.timing())
    with pytest.raises(sg.OutcomeUnknown):
        _ = await connect(provider, settings=settings).session.create(REQUEST, key="a")

    assert [record.sg_event for record in caplog.records] == [
        "retry.scheduled",
        "retry.scheduled",
        "call.ended",
    ]
    assert not any(hasattr(record, "sg_call") for record in caplog.records)
    assert caplog.records[0].levelno == logging.INFO
    assert caplog.records[0].sg_happened == "may have been processed"
    assert caplog.records[2].levelno == logging.WARNING
    assert "session/create unknown after 3 attempts" in caplog.text


async def test_an_exhausted_budget(run_provider, connect, clock, caplog) -> None:
    """It is named in the message."""
    provider = run_provider(faults=FaultScript((Fault(FaultKind.BEFORE, rate=1),)))
    retry = sg.RetryPolicy(budget_tokens=1)
    settings = sg.Settings(timing=clock.timing(), retry=retry)
    with pytest.raises(sg.CallFailed):
        _ = await connect(provider, settings=settings).session.create(REQUEST)
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.msg.startswith("retry budget exhausted")


async def test_a_payout(provider, connect, journal, caplog) -> None:
    """At INFO there is one line for a payout."""
    caplog.set_level(logging.INFO, "smartglocal_async")
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        _ = await payouts.pay(order())
    [record] = caplog.records
    assert (record.name, record.sg_state) == ("smartglocal_async.payouts", "succeeded")


def run(level: str | None, setup: str = "") -> str:
    """Return what a program writes to standard error, with this level in its environment."""
    code = f"""
import asyncio, logging
import smartglocal_async as sg
{setup}
key = sg.PrivateKey.generate()
settings = sg.Settings(retry=sg.RetryPolicy(initial_delay_seconds=0.001))
async def main():
    async with sg.SmartGlocal("demo", key, "http://127.0.0.1:9", settings=settings) as api:
        try:
            await api.session.create(sg.CreateSession(metadata=dict(order=1)))
        except sg.NotSent:
            pass
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={} if level is None else {"SMARTGLOCAL_LOG": level},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "lines"), [(None, 0), ("warning", 0), ("INFO", 3), ("debug", 11)]
)
def test_the_environment(level, lines) -> None:
    """`SMARTGLOCAL_LOG` writes to standard error; without it a library writes nothing."""
    assert run(level).count("smartglocal_async: ") == lines


@pytest.mark.slow
def test_a_level_that_is_unknown() -> None:
    """It is named, and doesn't end the program."""
    shown = run("loud")
    assert "SMARTGLOCAL_LOG: expected one of debug, info, warning, error; info is used" in shown
    assert shown.count("retry of session/create") == 2


@pytest.mark.slow
def test_a_program_that_sets_logging_up_later() -> None:
    """No line is written twice."""
    later = "sg.SmartGlocal('demo', sg.PrivateKey.generate(), 'http://127.0.0.1:9')"
    setup = f"{later}\nlogging.basicConfig(format='own %(message)s')"
    assert run("info", setup).count("retry of session/create") == 2


@pytest.mark.slow
def test_a_program_with_logging() -> None:
    """It keeps its handlers, and no line is written twice."""
    setup = "logging.basicConfig(format='own %(message)s')"
    shown = run("info", setup)
    assert shown.count("own retry of session/create") == 2
    assert shown.count("retry of session/create") == 2
