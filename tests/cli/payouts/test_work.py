"""``payouts submit``, ``work`` and what steers them: one batch, many workers, each paid once."""

import asyncio
import json
import os
import re
import signal
import time
from urllib.request import urlopen

import pytest
from paying import QUICK, order
from postgres_schemas import DSN, connected, execute, needs_postgres
from postgres_server import needs_server, server
from prometheus_client.parser import text_string_to_metric_families
from terminal import in_terminal, open_terminal
from till import DECLINED, STUCK, rows, session_calls

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.cli.payouts.batches import batches_of, show_batches
from smartglocal_async.cli.payouts.submit import SubmittedFile, others_of
from smartglocal_async.cli.payouts.watch import JournalWatcher, WatchRow, rate_text
from smartglocal_async.cli.tables import console
from smartglocal_async.emulator import Fault, FaultKind

pytestmark = [pytest.mark.slow, needs_postgres]

WAKE = """
SELECT pg_notify('ch_pgqueuer_{name}', json_build_object('channel', 'c', 'operation', 'insert',
'sent_at', now(), 'table', 'pgqueuer', 'type', 'table_changed_event')::text)
"""
CREW = ("workers", "at_work", "dead", "under_way")
HEAD = ["Batch", "State", "Paid", "Failed", "Cancelled", "Unknown", "Open"]
HANG = Fault(FaultKind.HANG, rate=1.0, operation="session/confirm")


@pytest.fixture
def shop(till, schema, monkeypatch):
    """Return the command line of a shop whose journal is a database, and the address of that."""
    till.opens()
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    return till, f"{DSN}?schema={schema}"


def moved(till, count: int) -> list[int]:
    """Count how often each was paid, by the provider."""
    return [till.provider.order(f"k{n}").moved for n in range(count)]


def until_paid(till, count: int, worker) -> None:
    """Wait until so many are paid, while a worker lives."""
    while till.provider.report().moved < count:
        assert worker.poll() is None
        time.sleep(0.02)


def free_of(schema: str) -> int:
    """Count the payouts that anybody may take now."""

    async def count() -> int:
        async with connected() as connection:
            return await connection.fetchval(
                f"SELECT count(*) FROM {schema}.entry "  # noqa: S608 - our own name
                "WHERE owner IS NULL AND leased_until IS NULL AND not_before IS NULL"
            )

    return asyncio.run(count())


def answered(till, answer: str, *words: str) -> tuple[str, int]:
    """Answer the question of a command; return what it wrote beside its result, and its code."""
    ours, theirs = open_terminal()
    child = till.child(*words, stdin=theirs)
    os.write(ours, answer.encode())
    _, said = child.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return said, child.returncode


def table_of(text: str) -> dict[str, str]:
    """Read the table of what was submitted, or of the status, without the spaces in it."""
    lines = (line.strip() for line in text.splitlines() if line.startswith(" "))
    return {
        head: " ".join(rest.split()) for head, _, rest in (line.partition("  ") for line in lines)
    }


def schema_of(at: str) -> str:
    """Return the schema of a journal."""
    return at.partition("?schema=")[2]


async def schema_there(name: str) -> bool:
    """Say whether there is a schema of this name."""
    async with connected() as connection:
        return await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", name)


def lines(text: str) -> list[dict]:
    """Read JSON Lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_is_submitted_and_worked_off(shop):
    """Nothing is sent before there is a worker, and that ends when it is done."""
    till, at = shop
    file = till.has(rows(20, k3=DECLINED))
    done = till("submit", str(file), "--journal", at, "--yes").stdout
    assert "can be paid" in done
    assert "20 payouts, 2,753.01 USD, as the batch p.csv; 2 new jobs for workers" in done
    assert table_of(done)["new"] == "20"
    assert f"next: smartglocal payouts work --journal '{at}'" in done
    assert session_calls(till.provider) == 0

    again = till.json("submit", str(file), "--journal", at, "--yes")
    assert (again["rows"], again["jobs"], again["refused_count"]) == (20, 0, 0)
    assert (again["new"], again["open"], again["elsewhere"]) == (0, 20, [])

    worked = till("work", "--journal", at, "--until-done", "--concurrency", "4")
    assert f"working on {at}, 4 payouts at a time" in worked.stdout
    assert "19 succeeded, 1 failed, 0 unknown" in worked.stdout
    assert moved(till, 20) == [n != 3 for n in range(20)]
    assert till.json("status", "--journal", at, exits=1)["counts"] == {"succeeded": 19, "failed": 1}


def test_rows_that_the_journal_has(shop):
    """Each is counted by its state; a failed key is paid by no later batch, so it's exit 1."""
    till, at = shop
    submits = ("submit", str(till.has(rows(4, k1=DECLINED))), "--journal", at, "--yes")
    till(*submits)
    till("work", "--journal", at, "--until-done")
    told = till.json(*submits, exits=1)
    assert [told[name] for name in ("new", "open", "succeeded", "failed")] == [0, 0, 3, 1]
    assert (told["jobs"], told["elsewhere"], told["next"], told["exit_code"]) == (0, [], None, 1)
    shown = till(*submits, exits=1).stdout
    assert "next:" not in shown
    told = table_of(shown)
    assert (told["new"], told["paid before"]) == ("0", "3")
    assert told["failed before"] == "1 paid only under new keys"


def test_rows_of_which_nobody_knows(shop):
    """They are shown, and the exit code counts them."""
    till, at = shop
    submits = ("submit", str(till.has(rows(2, k1=STUCK))), "--journal", at, "--yes")
    till(*submits)
    asyncio.run(execute("UPDATE {name}.entry SET step = 70 WHERE key = 'k1'", name=schema_of(at)))
    told = till.json(*submits, exits=3)
    assert (told["open"], told["unknown"], told["exit_code"]) == (1, 1, 3)


def test_rows_of_another_batch(shop):
    """They stay with it, which is named, and are paid with it; their own one says that it has none.

    Where that one was cancelled they are withdrawn for good, and paid only under new keys.
    """
    till, at = shop
    till("submit", str(till.has(rows(5))), "--journal", at, "--yes", "--batch", "night")
    till("batch", "pause", "night", "--journal", at)
    mistaken = ("submit", str(till.has(rows(5))), "--journal", at, "--yes", "--batch", "dya")
    for _ in range(2):
        shown = till(*mistaken).stdout
        _, _, shown = shown.partition("the batch dya got no rows: all are in other batches")
        assert "5 payouts, 510.00 USD, as the batch dya; 0 new jobs" in shown
    again = ("submit", str(till.has(rows(6))), "--journal", at, "--yes", "--batch", "day")
    told = till.json(*again)
    assert (told["new"], told["open"], told["jobs"], told["exit_code"]) == (1, 5, 1, 0)
    [other] = told["elsewhere"]
    assert (other["batch"], other["state"], other["counts"]["open"]) == ("night", "paused", 5)
    shown = till(*again).stdout
    assert "got no rows" not in shown
    told = table_of(shown)
    assert (told["new"], told["open before"]) == ("0", "6 5 in the batch night (paused)")
    status = till.json("status", "--journal", at, "--batch", "day", exits=3)
    assert (status["rows"], status["absent"], status["counts"]["open"]) == (6, 5, 1)
    shown = till("status", "--journal", at, "--batch", "day", exits=3).stdout
    assert table_of(shown)["not in the batch"].startswith("5 not started, or their keys belong")

    till("batch", "cancel", "night", "--journal", at, "--yes")
    till("work", "--journal", at, "--until-done")
    told = till.json(*again, exits=1)
    assert (told["succeeded"], told["cancelled"], told["exit_code"]) == (1, 5, 1)
    assert moved(till, 6) == [0] * 5 + [1]
    told = table_of(till(*again, exits=1).stdout)["cancelled before"]
    assert told.startswith("5 5 in the batch night (cancelled); paid only")
    watched = till("status", "--journal", at, "--batch", "day", "--watch").stdout
    assert "5 rows of the file not in day" in watched

    file = till.has(rows(5).replace("\nk", "\nagain-k"), "again.csv")
    till("submit", str(file), "--journal", at, "--yes")
    till("work", "--journal", at, "--until-done")
    assert till.provider.report().moved == 6


def test_rows_that_a_cancelled_batch_left_open(shop):
    """No worker takes them, so the output must not promise it."""
    till, at = shop
    till("submit", str(till.has(rows(2))), "--journal", at, "--yes", "--batch", "night")
    cancelled = "UPDATE {name}.batch SET state = 'cancelled'"
    asyncio.run(execute(cancelled, name=schema_of(at)))
    again = ("submit", str(till.has(rows(2))), "--journal", at, "--yes", "--batch", "day")
    assert till.json(*again, exits=1)["open"] == 2


async def test_rows_of_no_batch(connect, provider, schema):
    """Workers go by batches: open payouts without one wait for the program that began them."""
    journal, cipher = (
        sg.PostgresJournal(DSN, schema=schema),
        sg.RequestCipher(sg.RequestCipher.new_key()),
    )
    async with sg.Payouts(connect(provider, settings=QUICK), journal, cipher=cipher) as payouts:
        _ = await payouts._open().accept(order())
        done = await payouts.submit([order()], "night")
        others = await others_of(done, journal)
    written = SubmittedFile(done=done, others=others, jobs=0, journal="", work="", resume="")
    assert (written.code, written.elsewhere) == (1, {None: {sg.PayoutState.OPEN: 1}})


def empty_journal(till, at: str) -> str:
    """Have a worker make a journal; return what it printed beside its lines."""
    worker = till.child("work", "--journal", at)
    assert worker.stdout is not None
    assert worker.stdout.readline().startswith("working on ")
    worker.terminate()
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said
    return said


def test_a_worker_before_the_first_submit(shop):
    """It makes the journal, and says that nothing is in it."""
    till, at = shop
    until_done = ("work", "--journal", at, "--until-done")
    words = f"{at}: nothing was submitted yet"
    assert words in empty_journal(till, at)
    assert words in till(*until_done).stderr
    till("submit", str(till.has(rows(1))), "--journal", at, "--yes")
    assert till(*until_done).stderr == ""


def test_health_of_a_worker(shop):
    """It is alive and ready, and its metrics count what it paid, for Prometheus's own parser."""
    till, at = shop
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    worker = till.child("work", "--journal", at, "--health", "0")
    assert worker.stderr is not None
    health = worker.stderr.readline().split()[1].removesuffix("/healthz,")
    assert health.startswith("http://127.0.0.1:")
    assert json.loads(fetched(f"{health}/healthz")) == {"status": "ok"}
    until_paid(till, 3, worker)
    assert json.loads(fetched(f"{health}/readyz")) == {"status": "ready"}
    paid = {}
    while paid.get("succeeded") != 3:  # The outcome is counted just after it is written.
        assert worker.poll() is None
        families = text_string_to_metric_families(fetched(f"{health}/metrics"))
        paid = {
            sample.labels["state"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "smartglocal_payouts_total"
        }
    worker.terminate()
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said


def test_a_health_address_that_is_invalid(shop):
    """The worker doesn't begin."""
    till, at = shop
    refused = till("work", "--journal", at, "--health", "nine", exits=2)
    assert "expected a port, or HOST:PORT" in refused.stderr


def fetched(url: str) -> str:
    """Return the answer of an address."""
    with urlopen(url, timeout=30) as answer:  # noqa: S310 - our own
        return answer.read().decode()


def test_nothing_is_open(shop):
    """A worker that is to work until it's done ends at once."""
    till, at = shop
    _ = empty_journal(till, at)
    told = lines(till("work", "--journal", at, "--until-done", "--json").stdout)
    assert [one["event"] for one in told] == ["started", "stopped"]
    assert (told[1]["succeeded"], told[1]["exit_code"]) == (0, 0)


def test_a_file_that_was_changed(shop):
    """It is refused with the row that differs; as another batch, what is known is shown."""
    till, at = shop
    file = till.has(rows(5))
    till("submit", str(file), "--journal", at, "--yes")
    till.has(rows(6, k1="7.00"))
    refused = till("submit", str(file), "--journal", at, "--yes", exits=2)
    assert "isn't the file that the batch 'p.csv' was started with: line 3 (key 'k1')" in (
        refused.stderr
    )

    other = ("submit", str(file), "--journal", at, "--yes", "--batch", "other")
    told = till.json(*other, exits=1)
    assert told["refused"] == [
        {"key": "k1", "batch": "p.csv", "differs": ["amount_details.amount"]}
    ]
    assert (told["rows"], told["exit_code"]) == (5, 1)
    assert "Refused: the key belongs to another order" in till(*other, exits=1).stdout


@pytest.mark.parametrize("is_worked", [False, True])
def test_rows_are_added_to_what_was_submitted(shop, is_worked):
    """They join the batch, in whatever order the rows are; none is paid twice."""
    till, at = shop
    file = till.has(rows(5))
    till("submit", str(file), "--journal", at, "--yes")
    if is_worked:
        till("work", "--journal", at, "--until-done")
    header, *lines = rows(8).splitlines(keepends=True)
    till.has("".join([header, *reversed(lines)]))
    asked, code = answered(till, "y\n", "submit", str(file), "--journal", at)
    state = "5 settled, and not paid again" if is_worked else "5 open"
    assert f"was changed since its batch was started: 3 rows are new; {state}" in asked
    what = "what is left of 8 payouts" if is_worked else "8 payouts"
    assert f"Submit {what} (5 of them submitted before)" in asked
    assert code == 0
    status = till.json("status", "--journal", at, "--batch", "p.csv", exits=3)
    assert (status["rows"], status["absent"], status["counts"]["open"]) == (
        8,
        0,
        3 if is_worked else 8,
    )
    till("work", "--journal", at, "--until-done")
    assert moved(till, 8) == [1] * 8


def test_rows_are_removed_from_what_was_submitted(shop):
    """A worker would pay them, so the file is refused until they are cancelled."""
    till, at = shop
    file = till.has(rows(3))
    till("submit", str(file), "--journal", at, "--yes")
    till.has(rows(2))
    again = ("submit", str(file), "--journal", at, "--yes")
    refused = till.json(*again, exits=2)["error"]
    assert (refused["type"], refused["missing_count"]) == ("RowsMissing", 1)
    assert refused["missing"] == [{"key": "k2", "state": "open"}]
    assert "such as 'k2', which is open; nothing was sent" in refused["message"]
    till("cancel", "k2", "--reason", "not owed", "--journal", at)
    found = till.json(*again)
    assert (found["rows"], found["open"]) == (3, 2)
    till("work", "--journal", at, "--until-done")
    assert moved(till, 3) == [1, 1, 0]


def test_the_question_of_submit(shop):
    """It says that workers are to pay, and where, and what was written down before."""
    till, at = shop
    words = ("submit", str(till.has(rows(2))), "--journal", at)
    assert "--yes: required without a terminal" in till(*words, exits=2).stderr
    hands = f"201.00 USD, to the workers of {at}, which pay at {till.provider.url}? [y/N]"
    asked, code = answered(till, "n\n", *words)
    assert f"Submit 2 payouts, {hands}" in asked
    assert code == 1
    assert answered(till, "y\n", *words)[1] == 0
    asked, _ = answered(till, "y\n", *words)
    assert f"Submit 2 payouts (2 of them submitted before), {hands}" in asked


def test_a_file_that_is_not_fit(shop):
    """Nothing of it is written down, and the one object has the exit code."""
    till, at = shop
    file = till.has(rows(2, k1="x"))
    told = till.json("submit", str(file), "--journal", at, "--yes", exits=1)
    assert (told["is_fit"], told["bad_rows"], told["exit_code"]) == (False, 1, 1)
    assert "there is none" in till("status", "--journal", at, exits=2).stderr


@pytest.mark.parametrize("verb", ["submit", "work"])
def test_without_the_key_of_the_seal(shop, monkeypatch, verb):
    """No worker could pay such payouts: it says so, and what to do."""
    till, at = shop
    monkeypatch.delenv("SMARTGLOCAL_JOURNAL_KEY")
    words = (str(till.has(rows(2))), "--yes") if verb == "submit" else ()
    done = till(verb, *words, "--journal", at, exits=2)
    assert "SMARTGLOCAL_JOURNAL_KEY: isn't set" in done.stderr
    assert "smartglocal payouts journal new-key" in done.stderr


@pytest.mark.parametrize("options", [(), ("--until-done",), ("--json",)])
def test_another_key_of_the_seal(shop, schema, monkeypatch, options):
    """The worker ends with words that say what to give, and what it took is anybody's at once."""
    till, at = shop
    sealed_with = os.environ["SMARTGLOCAL_JOURNAL_KEY"]
    till("submit", str(till.has(rows(20))), "--journal", at, "--yes")
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", other := sg.RequestCipher.new_key())
    worker = till.child("work", "--journal", at, *options)
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 2, err
    assert "was encrypted with another SMARTGLOCAL_JOURNAL_KEY" in err
    assert "give the one that encrypted it" in err
    if "--json" in options:
        ended, last = lines(out)[1:]
        assert (ended["event"], ended["exit_code"]) == ("stopped", 2)
        assert last["error"]["type"] == "WrongJournalKey"
    assert session_calls(till.provider) == 0
    assert free_of(schema) == 20

    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", f"{other},{sealed_with}")
    till("work", "--journal", at, "--until-done")
    assert moved(till, 20) == [1] * 20


@pytest.mark.parametrize("verb", ["submit", "work", "batch limits"])
def test_a_journal_that_nobody_can_share(shop, verb):
    """A file is one process's."""
    till, _ = shop
    words = (str(till.has(rows(2))), "--yes") if verb == "submit" else ()
    done = till(*verb.split(), *words, "--journal", "p.journal", exits=2)
    assert "--journal: expected postgres://" in done.stderr


@pytest.mark.parametrize("verb", ["submit", "work", "batch limits", "journal grants payer"])
def test_a_journal_in_a_database_is_required(shop, verb, monkeypatch):
    """What needs a database has no default journal, and the message has the form of the address."""
    till, _ = shop
    monkeypatch.delenv("SMARTGLOCAL_JOURNAL", raising=False)
    words = (str(till.has(rows(2))), "--yes") if verb == "submit" else ()
    done = till(*verb.split(), *words, exits=2)
    assert "--journal: required, here or in SMARTGLOCAL_JOURNAL: postgres://" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--watch"),
        ("report",),
        ("batch", "limits", "--rate", "5"),
        ("batch", "pause", "night"),
        ("batch", "resume", "night"),
        ("batch", "cancel", "night", "--yes"),
        ("settle",),
        ("cancel", "k0", "--reason", "x"),
        ("journal", "resume", "--yes"),
        ("journal", "quarantine"),
        ("reconcile", "r.csv"),
        ("work", "--until-done"),
    ],
)
def test_a_schema_that_is_mistyped(shop, schema, words):
    """A command that only reads or steers makes no journal: it names it, and what to do."""
    till, at = shop
    told = till(*words, "--journal", at, exits=2).stderr
    assert f"(schema {schema}): there is none; fix the address" in told
    assert asyncio.run(schema_there(schema)) is False


def test_a_worker_that_is_told_to_stop(shop):
    """SIGTERM: what is out is finished, and what it had beyond that is anybody's at once."""
    till, at = shop
    till("submit", str(till.has(rows(200))), "--journal", at, "--yes")
    worker = till.child("work", "--journal", at, "--concurrency", "8", "--json")
    until_paid(till, 20, worker)
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=30)
    told = lines(out)
    assert worker.returncode == 0, err
    assert "SIGTERM: stopping after in-flight payouts" in err
    assert [one["event"] for one in told] == ["started", "stopped"]
    paid = till.provider.report().moved
    assert told[1]["succeeded"] == paid < 200
    status = till.json("status", "--journal", at, exits=3)
    assert status["counts"] == {"succeeded": paid, "open": 200 - paid}


@needs_server
def test_a_database_that_is_killed_and_comes_again(till, monkeypatch):
    """The worker waits for it, in the middle and at its beginning; each is paid once."""
    till.opens()
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    with server() as own:
        till("submit", str(till.has(rows(100))), "--journal", own.dsn, "--yes")
        own.stop()
        worker = till.child("work", "--journal", own.dsn, "--concurrency", "4")
        assert worker.stderr is not None
        assert "nothing listens there: is it running?" in worker.stderr.readline()
        own.start()
        until_paid(till, 10, worker)
        own.stop()
        own.start()
        until_paid(till, 100, worker)
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert moved(till, 100) == [1] * 100


def test_a_queue_that_is_dropped(shop, schema):
    """The worker says so, makes it again, and goes on."""
    till, at = shop
    till("submit", str(till.has(rows(5))), "--journal", at, "--yes")
    till("batch", "pause", "p.csv", "--journal", at)
    worker = till.child("work", "--journal", at, "--json")
    assert worker.stdout is not None
    assert json.loads(worker.stdout.readline())["event"] == "started"
    asyncio.run(execute("DROP TABLE {name}.pgqueuer", name=schema))
    asyncio.run(execute(WAKE, name=schema))
    trouble = json.loads(worker.stdout.readline())
    assert re.fullmatch(r"the queue failed: \w+; retrying", trouble["message"])
    till("batch", "resume", "p.csv", "--journal", at)
    until_paid(till, 5, worker)
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert moved(till, 5) == [1] * 5


def test_a_second_signal(till, schema, monkeypatch):
    """It ends at once, and says that the journal has what is out."""
    till.opens(faults=emulator.FaultScript((HANG,)))
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    at = f"{DSN}?schema={schema}"
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    worker = till.child("work", "--journal", at, "--json")
    while session_calls(till.provider) < 9:
        assert worker.poll() is None
        time.sleep(0.02)
    worker.send_signal(signal.SIGTERM)
    assert worker.stderr is not None
    assert "a second signal quits now" in worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=30)
    assert "payouts in flight are in the journal" in err
    assert worker.returncode == 3
    last = lines(out)[-1]
    assert (last["event"], last["error"]["type"]) == ("error", "Interrupted")


async def connections(name: str) -> int:
    """Count those of a program by its application name."""
    async with connected() as connection:
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name
        )


def test_the_connections_of_a_worker(shop, schema):
    """Three, however many payouts it works on: one writes, one asks, one is the queue's."""
    till, at = shop
    till("submit", str(till.has(rows(200))), "--journal", at, "--yes")
    worker = till.child("work", "--journal", f"{at}&application_name={schema}")
    most = 0  # The one that asks is made when the first who looks for work without a job has to.
    while till.provider.report().moved < 200 or most < 3:
        assert worker.poll() is None
        most = max(most, asyncio.run(connections(schema)))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    assert most == 3


def test_two_workers_and_one_batch(shop):
    """Together they pay each once, and both end when it is done."""
    till, at = shop
    till("submit", str(till.has(rows(100))), "--journal", at, "--yes")
    workers = [till.child("work", "--journal", at, "--until-done", "--json") for _ in range(2)]
    told = [lines(worker.communicate(timeout=60)[0])[-1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sum(one["succeeded"] for one in told) == 100
    assert moved(till, 100) == [1] * 100


def test_a_batch_is_paused_and_goes_on(shop):
    """While it is paused no worker has anything to do; cancelled, the rest is withdrawn."""
    till, at = shop
    till("submit", str(till.has(rows(5))), "--journal", at, "--yes")
    done = till("batch", "pause", "p.csv", "--journal", at, "--reason", "look first")
    assert done.stdout == "p.csv: paused (look first)\n"
    told = lines(till("work", "--journal", at, "--until-done", "--json", exits=6).stdout)
    assert [one["event"] for one in told] == ["started", "stopped", "error"]
    assert told[1]["exit_code"] == 6
    assert told[2]["error"]["batches"] == [{"batch": "p.csv", "reason": "look first"}]
    assert session_calls(till.provider) == 0
    assert till.json("batch", "resume", "p.csv", "--journal", at) == {
        "batch": "p.csv",
        "state": "running",
        "reason": None,
        "spend_left": {},
    }
    till("work", "--journal", at, "--until-done")
    assert moved(till, 5) == [1] * 5

    till("submit", str(till.has(rows(9), "q.csv")), "--journal", at, "--yes")
    asked = till("batch", "cancel", "q.csv", "--journal", at, exits=2)
    assert "--yes" in asked.stderr
    done = till("batch", "cancel", "q.csv", "--journal", at, "--yes")
    assert done.stdout == "q.csv: cancelled, with 4 payouts that were not sent\n"
    again = till("submit", "q.csv", "--journal", at, "--yes", exits=2)
    assert "was cancelled for good" in again.stderr
    assert "paid only under new keys, as another --batch NAME" in again.stderr


@pytest.mark.parametrize(
    "words", [("batch", "pause"), ("batch", "resume"), ("batch", "cancel", "--yes")]
)
def test_a_batch_that_is_mistyped(shop, words):
    """The journal is named, and so are the batches that it has, those begun last."""
    till, at = shop
    _ = empty_journal(till, at)
    mistyped = (*words, "nihgt", "--journal", at)
    missing = f"the journal {at} has no batch 'nihgt'; "
    assert f"{missing}it has none yet" in till(*mistyped, exits=2).stderr
    for n in range(7):
        till("submit", str(till.has(rows(1))), "--journal", at, "--yes", "--batch", f"b{n}")
        if n == 1:
            assert f"{missing}it has 'b0', 'b1'\n" in till(*mistyped, exits=2).stderr
    listed = "it has 'b2', 'b3', 'b4', 'b5', 'b6' and 2 more, which `payouts status` lists"
    assert f"{missing}{listed}" in till(*mistyped, exits=2).stderr


def test_a_batch_of_a_file_s_journal_that_is_mistyped(till):
    """Those that it has are named, as of a journal in a database."""
    till.opens()
    till("pay", str(till.has(rows(1))), "--yes")
    told = till("batch", "pause", "nihgt", exits=2).stderr
    assert f"the journal {till.journal} has no batch 'nihgt'; it has 'p.csv'" in told


def test_a_batch_that_was_paused_before(shop):
    """It keeps why, unless another reason is given by name; and it says so."""
    till, at = shop
    till("submit", str(till.has(rows(2))), "--journal", at, "--yes")
    first = till("batch", "pause", "p.csv", "--journal", at, "--reason", "look first")
    assert first.stdout == "p.csv: paused (look first)\n"
    again = till("batch", "pause", "p.csv", "--journal", at)
    assert again.stdout == "p.csv: paused already (look first)\n"
    other = till.json("batch", "pause", "p.csv", "--journal", at, "--reason", "the bank called")
    assert (other["reason"], other["was_paused"]) == ("the bank called", True)
    till("batch", "resume", "p.csv", "--journal", at)
    told = till.json("batch", "pause", "p.csv", "--journal", at)
    assert (told["reason"], told["was_paused"]) == ("from the command line", False)


def test_a_limit_that_holds_on(shop):
    """Resuming a batch shows what its spending limit leaves, and how to raise it."""
    till, at = shop
    file = str(till.has(rows(4)))
    till("submit", file, "--journal", at, "--yes", "--spend-limit", "250.00usd")
    till("work", "--journal", at, "--until-done", "--concurrency", "1", exits=6)
    told = till("batch", "resume", "p.csv", "--journal", at).stdout
    left = "its spending limit stays in force, with 49.00 USD of 250.00 USD left"
    assert told.startswith(f"p.csv: running; {left}; to raise it, submit the file again with ")
    assert till.json("batch", "resume", "p.csv", "--journal", at)["spend_left"] == {"usd": 4900}
    till("submit", file, "--journal", at, "--yes", "--spend-limit", "1000.00usd")
    assert till.json("batch", "resume", "p.csv", "--journal", at)["spend_left"] == {"usd": 79900}
    till("work", "--journal", at, "--until-done")
    assert moved(till, 4) == [1] * 4


def test_the_stop_rules_are_shown(shop):
    """At submission and in the status, with what a limit leaves; without any, nothing."""
    till, at = shop
    till.monkeypatch.setenv("COLUMNS", "160")
    submits = ("submit", str(till.has(rows(4))), "--journal", at, "--yes")
    stands = ("status", "--journal", at, "--batch", "p.csv")
    given = ("--stop-on-failure", "--stop-after-failures", "3", "--stop-on-low-balance")
    shown = till(*submits, "--spend-limit", "250.00usd", *given).stdout
    spend = "before more than 250.00 USD is spent, of which {left} USD is left"
    others = (
        "after the first that failed; after 3 in a row that were not paid; "
        "before one that the wallets can't cover"
    )
    assert f"stop rules: {spend.format(left='250.00')}; {others}\n" in shown
    facts = {
        "spend_limit": {"usd": 25_000},
        "spend_left": {"usd": 25_000},
        "stop_on_refusal": True,
        "stop_after_failures": 3,
        "stop_on_low_balance": True,
    }
    assert till.json(*submits)["stop_rules"] == facts
    till("submit", "p.csv", "--journal", at, "--yes", "--spend-limit", "250.00usd")
    till("work", "--journal", at, "--until-done", "--concurrency", "1", exits=6)
    status = till.json(*stands, exits=3)
    only = {"stop_on_refusal": False, "stop_after_failures": None}
    assert status["stop_rules"] == {**facts, "spend_left": {"usd": 4900}, **only}
    low = "before one that the wallets can't cover"
    rules = table_of(till(*stands, exits=3).stdout)["stop rules"]
    assert rules == f"{spend.format(left='49.00')}; {low}"

    file = till.has(rows(2).replace("\nk", "\nq"), "q.csv")
    submits = ("submit", str(file), "--journal", at, "--yes", "--allow-repeats")
    told = till.json(*submits, "--ignore-balance")
    assert told["stop_rules"] is None
    assert till.json(*submits)["stop_rules"] is None, "an existing batch keeps what it has"
    status = ("status", "--journal", at, "--batch", "q.csv")
    assert till.json(*status, exits=3)["stop_rules"] is None
    assert "stop rules" not in till(*status, exits=3).stdout


def test_the_limits_of_all_workers(shop):
    """They are shown, and changed one by one."""
    till, at = shop
    till("submit", str(till.has(rows(1))), "--journal", at, "--yes")
    assert till.json("batch", "limits", "--journal", at) == {"rate": None, "concurrency": None}
    done = till("batch", "limits", "--journal", at, "--rate", "500", "--concurrency", "40")
    assert done.stdout == "all workers together: 500 per second, 40 at a time\n"
    told = till.json("batch", "limits", "--journal", at, "--rate", "none")
    assert told == {"rate": None, "concurrency": 40}
    assert "any number per second, 40 at a time" in till("batch", "limits", "--journal", at).stdout
    for option, text in (("--rate", "fast"), ("--rate", "0"), ("--concurrency", "1.5")):
        assert option in till("batch", "limits", "--journal", at, option, text, exits=2).stderr


def test_payouts_that_are_halted(shop):
    """A worker ends with the code of that."""
    till, at = shop
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    till("journal", "quarantine", "--journal", at)
    done = till("work", "--journal", at, "--until-done", "--json", exits=7)
    assert session_calls(till.provider) == 0
    assert [one["event"] for one in lines(done.stdout)] == ["started", "stopped", "error"]
    assert lines(done.stdout)[1]["exit_code"] == 7


def test_credentials_that_are_refused(shop):
    """A worker ends, and what it had taken up stays open."""
    till, at = shop
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    (till.folder / "shop.pem").write_bytes(sg.PrivateKey.generate().pem())
    done = till("work", "--journal", at, exits=1)
    assert "signature" in done.stderr.lower()
    check = "check that SMARTGLOCAL_PRIVATE_KEY is the key of SMARTGLOCAL_PROJECT at this server"
    assert f"; {check}, or run `smartglocal doctor`" in done.stderr
    assert till.provider.report().moved == 0


@pytest.mark.parametrize("option", [("--spend-limit", "350.00usd"), ("--stop-on-failure",)])
def test_a_batch_that_stops_itself(shop, option):
    """Its rules apply to every worker; it is paused, says why, and continues when resumed."""
    till, at = shop
    file = till.has(rows(20, k1=DECLINED if len(option) == 1 else "101.00"))
    till("submit", str(file), "--journal", at, "--yes", *option)
    worked = till("work", "--journal", at, "--until-done", "--concurrency", "1", exits=6)
    words = "more than 350.00 USD would be spent" if len(option) > 1 else "the payout 'k1' failed"
    assert "the batch 'p.csv' is paused" in worked.stderr
    assert (
        f"check the reason, then: smartglocal payouts batch resume p.csv --journal '{at}'"
        in worked.stderr
    )
    assert words in worked.stderr
    assert till.provider.report().moved == (3 if len(option) > 1 else 1)
    status = till.json("status", "--journal", at, "--batch", "p.csv", exits=3)
    assert status["state"] == "paused"
    assert words in status["reason"]


def test_what_goes_on_is_watched(shop):
    """Each look is a line, with the rate and the time left of all workers, to the end."""
    till, at = shop
    till("submit", str(till.has(rows(60))), "--journal", at, "--yes")
    watch = till.child("status", "--journal", at, "--watch", "--every", "0.1", "--json")
    assert watch.stdout is not None
    first = json.loads(watch.stdout.readline())
    assert first["batches"] == [
        {
            "batch": "p.csv",
            "state": "running",
            "reason": None,
            "rows": 60,
            "absent": 0,
            "counts": {"succeeded": 0, "failed": 0, "cancelled": 0, "unknown": 0, "open": 60},
            "rate": None,
            "eta_seconds": None,
        }
    ]
    assert {name: first[name] for name in CREW} == dict.fromkeys(CREW, 0)
    assert first["halt"] is None
    till("work", "--journal", at, "--until-done", "--concurrency", "2")
    out, err = watch.communicate(timeout=30)
    looks = lines(out)
    assert watch.returncode == 0, err
    assert any(look["at_work"] == 1 and 0 < look["under_way"] <= 2 for look in looks)
    going = [look["batches"][0] for look in looks[1:-1]]
    assert all(one["rate"] >= 0 for one in going)
    assert any(one["eta_seconds"] for one in going)
    assert looks[-1]["batches"][0]["counts"]["succeeded"] == 60


def test_workers_with_nothing_to_do(shop):
    """They are alive; one that is killed isn't after a while, one that ends is gone at once."""
    till, at = shop
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    till("batch", "pause", "p.csv", "--journal", at)
    killed, ended = (till.child("work", "--journal", at) for _ in range(2))

    def until(count: int) -> dict:
        watch = till.child("status", "--journal", at, "--watch", "--every", "0.1", "--json")
        assert watch.stdout is not None
        for line in watch.stdout:
            look = json.loads(line)
            if look["workers"] == count:
                watch.kill()
                return {name: look[name] for name in CREW}
        raise AssertionError

    nobody = dict.fromkeys(CREW, 0)
    assert until(2) == nobody | {"workers": 2}
    status = till("status", "--journal", at, exits=3).stdout
    assert "2 workers alive, 0 at work, 0 payouts in flight" in status
    killed.kill()
    assert until(1) == nobody | {"workers": 1}
    ended.send_signal(signal.SIGTERM)
    _, err = ended.communicate(timeout=30)
    assert ended.returncode == 0, err
    told = till.json("status", "--journal", at, exits=3)
    assert {name: told[name] for name in CREW} == nobody


def test_a_worker_that_died_with_payouts(till, schema, monkeypatch):
    """It is at work no more, and what it had is others' when its leases end."""
    till.opens(faults=emulator.FaultScript((HANG,)))
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    at = f"{DSN}?schema={schema}"
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    worker = till.child("work", "--journal", at)
    while session_calls(till.provider) < 9:
        assert worker.poll() is None
        time.sleep(0.02)
    told = till.json("status", "--journal", at, exits=3)
    assert [told[name] for name in CREW] == [1, 1, 0, 3]
    worker.kill()
    watch = till.child("status", "--journal", at, "--watch", "--every", "0.1")
    assert watch.stdout is not None
    while " alive, " not in (line := watch.stdout.readline()) or line.startswith("1 worker"):
        assert watch.poll() is None
    words = "0 workers alive, 0 at work, 3 payouts in flight; 1 died, and others take over"
    assert line == f"{words}\n"


def test_all_batches_of_a_journal(shop):
    """Without a name each is listed with its counts, the last one at the end."""
    till, at = shop
    till.monkeypatch.setenv("COLUMNS", "100")
    _ = empty_journal(till, at)
    assert till.json("status", "--journal", at)["batches"] == []
    for name in ("a", "b"):
        file = till.has(rows(3, k1=DECLINED).replace("\nk", f"\n{name}"), f"{name}.csv")
        till("submit", str(file), "--journal", at, "--yes", "--allow-repeats")
        till("work", "--journal", at, "--until-done")
    till("submit", str(till.has(rows(2))), "--journal", at, "--yes", "--allow-repeats")
    till("batch", "pause", "p.csv", "--journal", at, "--reason", "look")

    status = ("status", "--journal", at)
    told = till.json(*status, exits=3)
    assert told["counts"] == {"succeeded": 4, "failed": 2, "open": 2}
    assert [(one["batch"], one["state"], one["rows"]) for one in told["batches"]] == [
        ("a.csv", "running", 3),
        ("b.csv", "running", 3),
        ("p.csv", "paused", 2),
    ]
    assert told["batches"][1]["counts"] == {
        **dict.fromkeys(("cancelled", "unknown", "open"), 0),
        "succeeded": 2,
        "failed": 1,
    }
    shown = [line.split() for line in till(*status, exits=3).stdout.splitlines()]
    head = [*HEAD, "Rows"]
    assert shown[(begin := shown.index(head)) + 2 : begin + 5] == [
        ["a.csv", "finished", "2", "1", "0", "0", "0", "3"],
        ["b.csv", "finished", "2", "1", "0", "0", "0", "3"],
        ["p.csv", "paused:", "look", "0", "0", "0", "0", "2", "2"],
    ]
    assert till.json(*status, "--batch", "p.csv", exits=3)["batches"] is None

    till("batch", "cancel", "p.csv", "--journal", at, "--yes", "--reason", "no")
    row = ["p.csv", "cancelled:", "no", "0", "0", "2", "0", "0"]
    assert [*row, "2"] in [line.split() for line in till(*status, exits=1).stdout.splitlines()]
    watched = till(*status, "--batch", "p.csv", "--watch", exits=1).stdout
    assert row in [line.split() for line in watched.splitlines()]


async def test_payouts_of_no_batch_are_listed(connect, provider, schema, capsys):
    """As are those whose batch has no row, and of many batches the last."""
    journal, cipher = (
        sg.PostgresJournal(DSN, schema=schema),
        sg.RequestCipher(sg.RequestCipher.new_key()),
    )
    async with sg.Payouts(connect(provider, settings=QUICK), journal, cipher=cipher) as payouts:
        _ = await payouts.pay(order("alone"))
        assert len([one async for one in payouts.pay_all([order("k")], batch="rowless")]) == 1
        for number in range(101):
            _ = await journal.put_batch(sg.journal.Batch(name=f"night {number}"))
        found = await batches_of(journal)
    assert found is not None
    assert {(one.name, one.counts.total()) for one in found[-2:]} == {("rowless", 1), (None, 1)}
    show_batches(console(), found)
    shown = capsys.readouterr().out
    assert "3 older batches" in shown
    assert "night 2 " not in shown
    assert "night 3 " in shown
    assert "(none)" in shown


def test_the_watch_begins_before_the_submit(shop):
    """It waits for what is to be written down, and then to the end of it."""
    till, at = shop
    _ = empty_journal(till, at)
    watch = till.child("status", "--journal", at, "--watch", "--every", "0.1", "--json")
    assert watch.stdout is not None
    [first] = json.loads(watch.stdout.readline())["batches"]
    assert (first["batch"], first["counts"]["open"]) == (None, 0)
    waits = till.child("status", "--journal", at, "--watch", "--every", "0.1")
    assert waits.stdout is not None
    while "no payouts yet; waiting for the first" not in waits.stdout.readline():
        assert waits.poll() is None
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    while json.loads(watch.stdout.readline())["batches"][0]["batch"] != "p.csv":
        assert watch.poll() is None
    till("work", "--journal", at, "--until-done")
    assert waits.communicate(timeout=30)[1] == ""
    out, err = watch.communicate(timeout=30)
    assert (watch.returncode, waits.returncode) == (0, 0), err
    assert lines(out)[-1]["batches"][0]["counts"]["succeeded"] == 3


def test_what_is_paused_has_no_time_left(shop):
    """The option is in its place."""
    till, at = shop
    till.monkeypatch.setenv("COLUMNS", "100")
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    till("batch", "pause", "p.csv", "--journal", at, "--reason", "no")
    watch = till.child("status", "--journal", at, "--watch", "--every", "0.1")
    assert watch.stdout is not None
    for _ in range(2):
        while not (line := watch.stdout.readline()).startswith("  p.csv"):
            assert watch.poll() is None
        assert line.split() == ["p.csv", "paused:", "no", *"0000", "3", "paused"]


async def test_the_rate_begins_anew(connect, provider, schema):
    """When the limits or the state change: what came before says nothing of what comes."""
    journal, cipher = (
        sg.PostgresJournal(DSN, schema=schema),
        sg.RequestCipher(sg.RequestCipher.new_key()),
    )
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, cipher=cipher) as payouts:
        _ = await payouts.submit([order(f"k{n}") for n in range(9)], "night")
        watch = JournalWatcher(journal, "night")

        async def seen() -> WatchRow:
            [row] = (await watch.read()).rows
            return row

        assert (await seen()).rate is None
        assert len([one async for one in payouts.run_chunk(limit=4)]) == 4
        row = await seen()
        assert row.rate > 0
        assert row.eta_seconds == 5 / row.rate
        await journal.set_limits(sg.journal.Limits(rate=1))
        assert (await seen()).rate is None
        assert ((row := await seen()).rate, row.eta_seconds) == (0, None)
        _ = await payouts.pause_batch("night", reason="look")
        for _ in range(2):
            assert ((row := await seen()).held, row.rate, row.eta_seconds) == ("paused", None, None)
        _ = await payouts.resume_batch("night")
        assert ((row := await seen()).held, row.rate) == (None, None)
        assert (await seen()).rate == 0
        await payouts.quarantine()
        assert ((row := await seen()).held, row.rate) == ("halted", None)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (None, ""),
        (0.0, "0.0/s"),
        (0.44, "0.4/s"),
        (9.5, "9.5/s"),
        (10, "10/s"),
        (1234.5, "1,234/s"),
    ],
)
def test_a_rate_in_words(rate, words):
    """A slow one has a tenth."""
    assert rate_text(rate) == words


def test_a_table_of_what_is_over(shop):
    """Where nothing is open it looks once; off a terminal that is plain text."""
    till, at = shop
    till("submit", str(till.has(rows(3, k1=DECLINED))), "--journal", at, "--yes")
    till("work", "--journal", at, "--until-done")
    shown = till("status", "--journal", at, "--watch", "--batch", "p.csv", exits=1).stdout
    head, _, row, said, *_ = [line.split() for line in shown.splitlines() if line.strip()]
    assert head == [*HEAD, "Rate", "ETA"]
    assert row == ["p.csv", "finished", "2", "1", "0", "0", "0"]
    assert " ".join(said) == "0 workers alive, 0 at work, 0 payouts in flight"
    assert "all" in till("status", "--journal", at, "--watch", exits=1).stdout
    assert "--watch" in till("status", "--journal", at, "--every", "1", exits=2).stderr
    assert "no batch" in till("status", "--journal", at, "--watch", "--batch", "x", exits=2).stderr


def test_a_live_table(shop):
    """On a terminal the last table remains in the end."""
    till, at = shop
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    till("work", "--journal", at, "--until-done")
    shown = in_terminal("payouts", "status", "--journal", at, "--batch", "p.csv", "--watch")
    assert "\x1b[" in shown
    assert "p.csv" in shown
    assert "0 workers alive" in shown
    assert shown.count(f"in the browser: smartglocal payouts serve '{at}'") == 1


def test_watching_is_interrupted(shop):
    """Ctrl-C ends it."""
    till, at = shop
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    watch = till.child("status", "--journal", at, "--watch", "--every", "60")
    assert watch.stdout is not None
    while "workers alive" not in watch.stdout.readline():
        assert watch.poll() is None
    watch.send_signal(signal.SIGINT)
    assert "interrupted" in watch.communicate(timeout=30)[1]
    assert watch.returncode == 130


def test_a_file_s_journal_is_watched(till):
    """What is over is over at once, with no credentials for a look."""
    till.opens()
    file = till.has(rows(2))
    till("pay", str(file), "--yes")
    till.monkeypatch.delenv("SMARTGLOCAL_PROJECT")
    told = till.json("status", str(file), "--watch", "--journal", str(till.journal))
    assert (told["workers"], told["batches"][0]["counts"]["succeeded"]) == (None, 2)


def test_whoever_sends_nothing_needs_no_key(shop, monkeypatch):
    """A journal belongs to a project and a server: to look at it, and to steer it, that is all."""
    till, at = shop
    till("submit", str(till.has(rows(3))), "--journal", at, "--yes")
    for name in ("SMARTGLOCAL_PRIVATE_KEY", "SMARTGLOCAL_JOURNAL_KEY"):
        monkeypatch.delenv(name)
    assert till.json("status", "--journal", at, exits=3)["counts"]["open"] == 3
    assert till.json("batch", "limits", "--journal", at, "--rate", "9")["rate"] == 9
    assert till.json("batch", "pause", "p.csv", "--journal", at)["state"] == "paused"
    assert till.json("batch", "resume", "p.csv", "--journal", at)["state"] == "running"
    till("cancel", "k0", "--reason", "a typing error", "--journal", at)
    till("journal", "quarantine", "--journal", at)
    till("journal", "resume", "--journal", at, "--yes")
    assert till.json("batch", "cancel", "p.csv", "--journal", at, "--yes")["cancelled"] == 2
    assert "k1,cancelled" in till("report", "--journal", at).stdout
    assert "SMARTGLOCAL_PRIVATE_KEY" in till("settle", "--journal", at, exits=2).stderr

    for name, verb in (("PROJECT", "status"), ("SERVER", "batch limits")):
        with monkeypatch.context() as without:
            without.delenv(f"SMARTGLOCAL_{name}")
            told = till(*verb.split(), "--journal", at, exits=2).stderr
        assert f"set SMARTGLOCAL_{name} in the environment" in told
    monkeypatch.setenv("SMARTGLOCAL_SERVER", "nowhere")
    assert "SMARTGLOCAL_SERVER: server must be" in till("status", "--journal", at, exits=2).stderr
    refused = till("batch", "limits", "--journal", at, "--server", "nowhere", exits=2)
    assert "--server: server must be" in refused.stderr


def test_a_new_key(till, monkeypatch):
    """It is alone on standard output, is another each time, and encrypts."""
    made = [till("journal", "new-key") for _ in range(2)]
    keys = [one.stdout.removesuffix("\n") for one in made]
    assert len({*keys, till.json("journal", "new-key")["key"]}) == 3
    for one, key in zip(made, keys, strict=True):
        assert "\n" not in key
        assert key not in one.stderr
        assert "keep it" in one.stderr
        monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", key)
        assert sg.RequestCipher.from_env() is not None


def test_what_is_no_key_of_the_seal(shop, monkeypatch):
    """The error says how to make one, and doesn't show what was given."""
    till, at = shop
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", "secret")
    told = till("work", "--journal", at, exits=2).stderr
    assert "SMARTGLOCAL_JOURNAL_KEY: expected 32 bytes in Base64" in told
    assert "smartglocal payouts journal new-key" in told
    assert "secret" not in told
