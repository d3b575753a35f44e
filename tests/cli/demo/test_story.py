"""The demo's stories: what they tell is what happened, and their exit code judges it."""

import asyncio
import json
import os
import re
import subprocess
import sys

import pytest
from attrs import evolve
from places import ROOT
from typer.testing import CliRunner

from smartglocal_async.cli.app import app
from smartglocal_async.cli.demo import command, payment_story, payout_story, story
from smartglocal_async.cli.demo.story import (
    ComparedValue,
    StoryEnded,
    StoryLine,
    StoryResult,
    StoryScript,
    StoryStep,
    show_ending,
    show_step,
)
from smartglocal_async.cli.tables import console
from smartglocal_async.emulator import Fault, FaultKind, FaultScript, Report, Rules
from smartglocal_async.envelope import AttemptResult
from smartglocal_async.models.events import PaymentFinished, ReadyToConfirm
from smartglocal_async.models.requests import CreateSession, InitPayout, SessionRef
from smartglocal_async.observer.events import AttemptEnded

pytestmark = pytest.mark.slow

REPORT = Report(
    requests=7,
    orders=3,
    sessions=1,
    duplicates=0,
    changed=0,
    bad_signatures=0,
    refused=0,
    faults={},
    moved=1,
)
GOOD = StoryResult(
    story="payout",
    steps=(),
    counts=(ComparedValue("Paid", 1, 1),),
    paid=1,
    report=REPORT,
)


def run(*arguments: str):
    """Run the demo in this process."""
    return CliRunner().invoke(app, ("demo", *arguments), catch_exceptions=False)


def ignore(_: StoryStep) -> None:
    """Listen to no step."""


@pytest.mark.parametrize("name", ["payout", "payment"])
def test_process_tells_the_story(name):
    """Piped, a story is plain lines of a readable width, both sides' counts and a verdict."""
    done = subprocess.run(
        (sys.executable, "-m", "smartglocal_async", "demo", "--story", name),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 90
    assert not [line for line in lines if line.endswith(" ")]
    [page] = [line for line in lines if line.startswith("The emulator's page: ")]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/emulator/", page.rpartition(" ")[2])
    assert lines.index(page) < lines.index(next(line for line in lines if line.startswith("  ")))
    assert lines[-1] == f"One {name}, paid once."
    assert ["Paid", "1", "1"] in [line.split() for line in lines]


def test_payout_loses_an_answer_and_pays_once():
    """The confirm's answer is lost; the client asks, and doesn't send it again."""
    said = json.loads(run("--story", "payout", "--json").stdout)
    assert said["ok"] is True
    assert said["paid"] == {"client": 1, "provider": 1}
    assert said["provider"]["faults"] == {"after": 1}
    assert said["provider"]["moved_twice"] == 0
    counts = {count["what"]: (count["client"], count["provider"]) for count in said["counts"]}
    assert counts == {
        "Confirms sent, and arrived": (1, 1),
        "Webhooks verified, and delivered": (2, 2),
        "Spent, and paid out": ("100.00 EUR", "100.00 EUR"),
        "Paid": (1, 1),
    }
    confirm = next(step for step in said["steps"] if step["title"].startswith("Confirmed"))
    assert [next(iter(line)) for line in confirm["lines"]] == [
        *("sent", "came_back", "sent", "came_back")
    ]
    assert "may have been processed" in confirm["lines"][1]["came_back"]
    assert "session/status" in confirm["lines"][2]["sent"]


def test_payment_goes_through_every_webhook():
    """The payment meets each kind of webhook, and both sides' money agrees."""
    result = run("--story", "payment", "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    told = json.dumps(said["steps"])
    for kind in (
        *("ready_to_confirm", "action_required", "ready_to_capture"),
        *("payment_finished", "payment_refunded"),
    ):
        assert f"{kind}, verified" in told
    counts = {count["what"]: (count["client"], count["provider"]) for count in said["counts"]}
    assert counts == {
        "Webhooks verified, and delivered": (6, 6),
        "Captured": ("30.00 EUR", "30.00 EUR"),
        "Refunded": ("10.00 EUR", "10.00 EUR"),
        "Charged back": ("20.00 EUR", "20.00 EUR"),
        "Paid": (1, 1),
    }
    assert "HTTP 303, back to https://shop.example/thanks" in told
    # Neither the token of the widget nor what belongs to the payer's browser.
    assert not re.search("[0-9a-f]{32}", told)


@pytest.mark.parametrize("name", ["payout", "payment"])
def test_same_story_twice(name):
    """But for the port, a story is the same each time."""
    first, second = (json.loads(run("--story", name, "--json").stdout) for _ in range(2))
    for said in (first, second):
        said["steps"] = re.sub(r"127\.0\.0\.1:\d+", "", json.dumps(said["steps"]))
        del said["provider"]["balances"]
    assert first == second


@pytest.mark.parametrize("option", ["--orders", "--fault-rate", "--concurrency", "--seed"])
@pytest.mark.parametrize("name", ["payout", "payment"])
def test_options_of_the_orders_are_refused(name, option):
    """What a story has no use for is refused, even with its usual value."""
    result = run("--story", name, option, "1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"smartglocal: {option}: can't be used with --story")


def test_orders_are_the_usual_story():
    """Without --story, and with its first one, the demo is about many orders."""
    for flags in ((), ("--story", "orders")):
        said = json.loads(run(*flags, "--orders", "3", "--fault-rate", "0", "--json").stdout)
        assert said["orders"] == 3
    assert run("--story", "tragedy").exit_code == 2


@pytest.mark.parametrize(
    ("change", "is_good"),
    [
        ({}, True),
        ({"paid": 0}, False),
        ({"paid": 2}, False),
        ({"report": evolve(REPORT, moved=2)}, False),
        ({"report": evolve(REPORT, moved=0)}, False),
        ({"report": evolve(REPORT, moved_twice=1)}, False),
        ({"report": evolve(REPORT, bad_signatures=1)}, False),
        ({"counts": (ComparedValue("Taken", "1.00 EUR", "2.00 EUR"),)}, False),
    ],
)
def test_what_makes_a_story_fail(change, is_good):
    """Money that moved not once, or books that differ, are a failure, each by itself."""
    ending = evolve(GOOD, **change)
    assert ending.is_good is is_good
    assert ending.as_dict()["ok"] is is_good


def test_success_is_told(capsys):
    """The verdict of a success is one line, after both sides' counts."""
    show_ending(console(), GOOD)
    assert capsys.readouterr().out.endswith("\nOne payout, paid once.\n")


def test_failure_is_told(capsys):
    """The verdict of a failure says what both sides hold."""
    show_ending(console(), evolve(GOOD, paid=2, counts=(ComparedValue("Paid", 2, 1),)))
    text = capsys.readouterr().out
    assert ["Paid", "2", "1"] in [line.split() for line in text.splitlines()]
    assert "FAILED" in text
    assert "the client counts 2, the provider 1" in " ".join(text.split())


@pytest.mark.parametrize(
    ("play", "name"),
    [(payout_story.play_payout, "payout"), (payment_story.play_payment, "payment")],
)
def test_exit_code_is_that_of_the_counts(monkeypatch, play, name):
    """A provider that counts otherwise ends the demo with 1."""

    async def miscounting(tell):
        ending = await play(tell)
        return evolve(ending, report=evolve(ending.report, moved=2))

    monkeypatch.setattr(command, "_STORIES", {name: miscounting})
    result = run("--story", name)
    assert result.exit_code == 1
    assert "FAILED" in result.stdout


def test_steps_are_safe_on_a_terminal(capsys):
    """What came over the wire doesn't steer the terminal."""
    show_step(console(), StoryStep(title="A", lines=(StoryLine(is_sent=False, text="b\x1b[2J"),)))
    assert capsys.readouterr().out == "\nA\n  <- b\\x1b[2J\n"


def test_attempts_are_told_in_words():
    """The script says how an attempt ended."""
    script = StoryScript()
    facts = {"key": None, "attempt": 1, "http_status": None, "elapsed_seconds": 0.1}
    script.attempts(
        [
            AttemptEnded(
                call=1,
                operation="session/confirm",
                happened=happened,
                cause=cause,
                code=code,
                **facts,
            )
            for happened, cause, code in (
                (AttemptResult.UNKNOWN, "Cut for http://x", None),
                (AttemptResult.REFUSED, None, "some_code"),
                (None, None, None),
                (AttemptResult.ACCEPTED, None, None),
            )
        ]
    )
    assert [line.text for line in script.lines] == [
        "Cut: may have been processed",
        f"some_code: {AttemptResult.REFUSED.value}",
        "no answer: cancelled",
    ]


async def test_story_halts_at_another_webhook():
    """A webhook that is not the one expected ends the story, and says which it was."""
    async with story.story_setup(FaultScript(), Rules(), ignore) as stage:
        request = InitPayout(
            payment_method=payout_story._ACCOUNT,
            amount_details=payout_story._AMOUNT,
            participant_details=payout_story._PEOPLE,
        )
        _ = await stage.api.session.init_payout(request)
        with pytest.raises(
            StoryEnded, match="ready_to_confirm arrived instead of payment_finished"
        ):
            await stage.webhook(PaymentFinished)
    assert not stage.webhooks


async def test_story_halts_where_no_webhook_comes(monkeypatch):
    """A webhook that never comes ends the story after a while."""
    monkeypatch.setattr(story, "_TIMEOUT_SECONDS", 0.05)
    async with story.story_setup(FaultScript(), Rules(), ignore) as stage:
        _ = await stage.api.session.create(CreateSession())
        with pytest.raises(StoryEnded, match="the webhook ready_to_confirm did not arrive"):
            await stage.webhook(ReadyToConfirm)
        stage.webhooks = 1
        assert await stage.delivered() == 0


async def test_forged_webhook_is_no_part_of_the_story():
    """What the provider did not sign is refused, and the story doesn't hear of it."""
    async with story.story_setup(FaultScript(), Rules(), ignore) as stage:
        status, _ = await story.visit(stage.webhook_url, {"type": "payment_finished"})
        assert status == 401
        status, _ = await story.visit(stage.webhook_url, {"type": "x" * 1_000_001})
        assert status == 413
        assert stage._received.empty()


async def test_faults_of_a_stage_strike():
    """A stage's provider follows its script of faults, and the client tells of its attempts."""
    faults = FaultScript((Fault(FaultKind.BEFORE, nth=(1,)),))
    async with story.story_setup(faults, Rules(), ignore) as stage:
        session = await stage.api.session.create(CreateSession(), key="order-1")
        await stage.api.session.status(SessionRef(session.id))
    assert [attempt.happened for attempt in stage.attempts][:2] == [
        AttemptResult.UNKNOWN,
        AttemptResult.ACCEPTED,
    ]


def test_action_required_without_a_redirect_ends_the_story():
    """If the provider names no redirect, there is no buyer to play."""
    session = asyncio.run(_created())
    with pytest.raises(StoryEnded, match="has no redirect"):
        payment_story._redirect(session)


async def _created():
    async with story.story_setup(FaultScript(), Rules(), ignore) as stage:
        return await stage.api.session.create(CreateSession())
