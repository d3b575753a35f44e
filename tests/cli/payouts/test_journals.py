"""One journal for each server and project: where it is, what it remembers, who waits for it."""

import hashlib
import os
import re
import signal
import sqlite3
import stat
import subprocess
import time
from pathlib import Path

import pytest
from terminal import open_terminal
from till import DECLINED, HEADER, STUCK, Till, rows, session_calls

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.cli.payouts.journals import default_journal
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

pytestmark = pytest.mark.slow


def numbered(*names_and_amounts: tuple[str, str]) -> str:
    """Return a file whose keys only count its rows."""
    lines = (
        f"row-{number},{amount},eur,hash-of-{name},{name}\n"
        for number, (name, amount) in enumerate(names_and_amounts, 1)
    )
    return HEADER + "".join(lines)


JANUARY = numbered(("Ann", "10.00"), ("Bob", "10.00"))
FEBRUARY = numbered(("Cid", "20.00"), ("Dee", "21.00"))


# --- Where it is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "project", "submerchant", "name"),
    [
        ("https://proxy.smart-glocal.com", "shop", None, "proxy.smart-glocal.com-shop-"),
        ("https://proxy.smart-glocal.com/", "a/b c", "s|1", "proxy.smart-glocal.com-a-b-c-s-1-"),
        ("http://127.0.0.1:8080", "shop", None, "127.0.0.1-8080-shop-"),
        ("https://x.example", "p" * 200, None, f"x.example-{'p' * 70}-"),
    ],
)
def test_the_default_is_of_a_server_and_a_project(  # noqa: PLR0913, PLR0917
    tmp_path, monkeypatch, server, project, submerchant, name
):
    """Readable, with a digest behind it; nothing is made by asking."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("SMARTGLOCAL_SERVER", server)
    monkeypatch.setenv("SMARTGLOCAL_PROJECT", project)
    monkeypatch.delenv("SMARTGLOCAL_SUBMERCHANT", raising=False)
    if submerchant is not None:
        monkeypatch.setenv("SMARTGLOCAL_SUBMERCHANT", submerchant)
    path = default_journal(None)
    assert path.parent == tmp_path / "smartglocal"
    assert re.fullmatch(re.escape(name) + r"[0-9a-f]{12}\.journal", path.name), path.name
    assert not path.parent.exists()


def test_another_scope_is_another_file(tmp_path, monkeypatch):
    """Server, project and sub-merchant each make another one; how the server is written doesn't."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    seen = set[Path]()
    for server, project, submerchant in (
        ("https://x.example", "shop", ""),
        ("https://y.example", "shop", ""),
        ("https://x.example", "Shop", ""),
        ("https://x.example", "shop", "s"),
        ("https://x.example/a", "shop", ""),
    ):
        monkeypatch.setenv("SMARTGLOCAL_SERVER", server)
        monkeypatch.setenv("SMARTGLOCAL_PROJECT", project)
        monkeypatch.setenv("SMARTGLOCAL_SUBMERCHANT", submerchant)
        seen.add(default_journal(None))
    assert len(seen) == 5
    monkeypatch.setenv("SMARTGLOCAL_SUBMERCHANT", "")
    for spelt in (
        *("https://X.example", "https://x.example:443/", "https://x.example/"),
        *("https://x.example.", "https://X.example.:443/"),
    ):
        monkeypatch.setenv("SMARTGLOCAL_SERVER", "https://other.example")
        monkeypatch.setenv("SMARTGLOCAL_PROJECT", "shop")
        assert default_journal(spelt) in seen


def scope_at(monkeypatch, tmp_path, server: str, project: str, submerchant: str = "") -> Path:
    """Return the default journal of credentials."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("SMARTGLOCAL_SERVER", server)
    monkeypatch.setenv("SMARTGLOCAL_PROJECT", project)
    monkeypatch.setenv("SMARTGLOCAL_SUBMERCHANT", submerchant)
    return default_journal(None)


def earlier_path(path: Path, scope: str) -> Path:
    """Return the path that an earlier release had for a scope."""
    digest = hashlib.sha256(scope.encode()).hexdigest()[:12]
    return path.with_name(f"{path.stem.rpartition('-')[0]}-{digest}.journal")


def test_a_bar_in_a_name_is_no_border(tmp_path, monkeypatch):
    """A project with a bar in its name is another one than a project with a sub-merchant."""
    with_bar = scope_at(monkeypatch, tmp_path, "https://x.example", "shop|s")
    assert scope_at(monkeypatch, tmp_path, "https://x.example", "shop", "s") != with_bar
    earlier = earlier_path(with_bar, "https://x.example|shop|s")
    assert scope_at(monkeypatch, tmp_path, "https://x.example", "shop", "s") == earlier
    # It may hold payouts of that project: an empty one beside it would pay them again.
    earlier.parent.mkdir()
    earlier.touch()
    assert scope_at(monkeypatch, tmp_path, "https://x.example", "shop|s") == earlier
    with_bar.touch()
    assert scope_at(monkeypatch, tmp_path, "https://x.example", "shop|s") == with_bar


@pytest.mark.parametrize("spelt", ["https://x.example", "https://x.example."])
def test_a_journal_of_a_host_with_a_dot_behind_it(tmp_path, monkeypatch, spelt):
    """One that an earlier release made is used, however the server is written; never two."""
    plain = scope_at(monkeypatch, tmp_path, spelt, "shop")
    earlier = earlier_path(plain, "https://x.example.|shop")
    assert earlier != plain
    earlier.parent.mkdir()
    earlier.touch()
    assert scope_at(monkeypatch, tmp_path, spelt, "shop") == earlier
    plain.touch()
    with pytest.raises(sg.InvalidRequest, match="are journals of the same server and project"):
        _ = default_journal(None)
    earlier.unlink()
    assert default_journal(None) == plain


@pytest.mark.parametrize("variable", ["PROJECT", "SUBMERCHANT"])
@pytest.mark.parametrize("value", ["demo ", " demo", "demo\n", '"demo"', "'demo'"])
def test_what_a_header_loses_makes_no_other_journal(till, monkeypatch, variable, value):
    """The provider would take it for the project whose journal has the payouts."""
    till.opens()
    till.has(rows(1))
    monkeypatch.setenv(f"SMARTGLOCAL_{variable}", value)
    said = till("pay", "p.csv", "--yes", exits=2).stderr
    assert f"SMARTGLOCAL_{variable}: {variable.lower()} " in said
    assert "remove" in said
    assert not till.state.exists()


@pytest.mark.parametrize(
    ("project", "submerchant"), [("shop ", ""), (" shop", ""), ("shop", "s "), (" shop ", " s")]
)
async def test_a_journal_of_a_name_with_a_space(tmp_path, monkeypatch, project, submerchant):
    """One that an earlier release made is used by the name without it, and opens."""
    names = (project.strip(), submerchant.strip())
    plain = scope_at(monkeypatch, tmp_path, "https://x.example", *names)
    scope = "|".join(filter(None, ["https://x.example", project, submerchant]))
    earlier = earlier_path(plain, scope)
    earlier.parent.mkdir()
    made = sg.SQLiteJournal(earlier)
    await made.open(scope)
    await made.close()
    assert scope_at(monkeypatch, tmp_path, "https://x.example", *names) == earlier
    await made.open("|".join(filter(None, ["https://x.example", *names])))
    await made.close()
    with pytest.raises(sg.JournalUnusable, match="belongs to"):
        await made.open("https://x.example|sho p")
    plain.touch()
    with pytest.raises(sg.InvalidRequest, match="a name with a space around it"):
        _ = default_journal(None)


@pytest.mark.parametrize("name", ["n.db ", " n.db", "n.db\n", '"n.db"', "'n.db'", "n\u200b.db"])
def test_a_new_journal_has_a_plain_name(till, name):
    """Its variable came with a line break, or with quotes: the journal without them has payouts."""
    till.opens()
    till.has(rows(1))
    assert "and none is made" in till("pay", "p.csv", "--yes", "--journal", name, exits=2).stderr
    assert not [path for path in till.folder.iterdir() if "n" in path.name and ".db" in path.name]


@pytest.mark.parametrize(("variable", "value"), [("XDG_STATE_HOME", "state"), ("HOME", "home")])
def test_no_folder_has_a_journal_of_its_own(tmp_path, monkeypatch, variable, value):
    """A relative state directory is passed over or refused, as the version of platformdirs has it.

    It would be another one in each folder, and a file would be paid again.
    """
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("SMARTGLOCAL_SERVER", "https://x.example")
    monkeypatch.setenv("SMARTGLOCAL_PROJECT", "shop")
    found = set[Path | str]()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        try:
            found.add(default_journal(None))
        except sg.InvalidRequest as error:
            found.add(error.field)
    (only,) = found
    assert only == "--journal" or Path(only).is_absolute()


def test_a_folder_that_others_may_read_is_closed_to_them(till):
    """The folder of the default journal is its owner's alone, also where it was there before."""
    till.opens()
    folder = till.state / "smartglocal"
    folder.mkdir(parents=True, mode=0o755)
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "p.csv"),
        ("report", "p.csv"),
        ("settle", "p.csv"),
        ("reconcile", "p.csv"),
        ("decide", "k0", "--paid", "--reason", "x", "--yes"),
        ("cancel", "k0", "--reason", "x"),
        ("batch", "pause", "p.csv"),
        ("batch", "cancel", "p.csv", "--yes"),
        ("journal", "resume", "--yes"),
        ("journal", "quarantine"),
        ("check", "p.csv"),
        ("pay", "p.csv", "--dry-run"),
    ],
)
def test_what_only_looks_makes_no_journal(till, words):
    """Neither the file nor its folder."""
    till.opens()
    till.has(rows(1))
    till(*words, exits=0 if words[0] in {"check", "pay"} else 2)
    assert not till.state.exists()


def test_another_one_by_option_or_variable(till):
    """The option counts more; nothing is made in the state directory."""
    till.opens()
    till.has(rows(1))
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL", "by-variable")
    assert till.json("pay", "p.csv", "--yes")["journal"] == "by-variable"
    said = till.json("pay", "p.csv", "--yes", "--journal", "by-option", "--results", "r", exits=7)
    assert (said["journal"], said["journal_is_new"]) == ("by-option", True)
    assert not till.state.exists()


@pytest.mark.parametrize("words", [("pay", "--yes"), ("settle",), ("status",), ("report",)])
def test_a_journal_of_the_earlier_default_is_named(till, words):
    """It may have paid the file: nothing is sent until it is named, or is moved away."""
    provider = till.opens()
    till.has(rows(2))
    till("pay", "p.csv", "--yes", "--journal", "p.csv.journal")
    requests = session_calls(provider)
    result = till(words[0], "p.csv", *words[1:], exits=2)
    assert "--journal: p.csv.journal is a journal beside the file" in result.stderr
    assert "continue with --journal p.csv.journal" in result.stderr
    assert not till.state.exists()
    till(words[0], "p.csv", *words[1:], "--journal", "p.csv.journal")
    assert session_calls(provider) == requests


# --- What it remembers -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["copy.csv", "folder/sal.csv", "folder/other name.csv"])
def test_a_copy_of_a_file_is_paid_once(till, name):
    """Whatever it is called, and wherever it is: it goes on as the batch that it is."""
    provider = till.opens()
    till.has(rows(3), "sal.csv")
    till("pay", "sal.csv", "--yes")
    requests = session_calls(provider)
    (till.folder / "folder").mkdir()
    till.has(rows(3), name)
    result = till("pay", name, "--yes")
    assert session_calls(provider) == requests
    assert "all payouts were settled before; nothing was sent" in result.stdout
    is_renamed = not name.endswith("/sal.csv")
    words = f"{name} has the content of the batch 'sal.csv', and continues it"
    assert (words in result.stderr) == is_renamed
    assert (f"--key-prefix {Path(name).stem}-" in result.stderr) == is_renamed
    assert till.json("status", name)["counts"] == {"succeeded": 3}
    assert len(till("report", name).stdout.splitlines()) == 4


def test_a_renamed_file_goes_on(till):
    """What is open of it is gone on with under its new name, by pay and by resume."""
    lost = Fault(FaultKind.HANG, operation="session/confirm", nth=(1, 2))
    provider = till.opens(faults=FaultScript((lost,)))
    path = till.has(rows(2), "sal.csv")
    till("pay", "sal.csv", "--yes", "--deadline", "2", exits=3)
    path.rename(till.folder / "new.csv")
    till("settle", "new.csv")
    assert till.json("pay", "new.csv", "--yes")["replayed"] == 2
    assert (provider.report().moved, provider.report().moved_twice) == (2, 0)


def test_row_numbers_of_another_month_are_refused(till):
    """With the payouts that have the keys, and what to do; with a prefix they are paid."""
    provider = till.opens()
    till.has(JANUARY, "jan.csv")
    till.has(FEBRUARY, "feb.csv")
    till("pay", "jan.csv", "--yes")
    requests = session_calls(provider)
    result = till("pay", "feb.csv", "--yes", exits=2)
    told = " ".join(result.stderr.split())
    assert "feb.csv: 2 rows with a key that the journal" in told
    assert "the key 'row-1' is in the batch 'jan.csv', with 10.00 EUR, succeeded since 20" in told
    assert "--key-prefix TEXT, such as --key-prefix feb-" in told
    shown = " ".join(result.stdout.split())
    assert "2 row-1 jan.csv 10.00 EUR succeeded" in shown
    assert session_calls(provider) == requests
    said = till.json("pay", "feb.csv", "--yes", "--key-prefix", "feb-")
    assert (said["succeeded"], said["replayed"]) == (2, 0)
    assert said["sums"] == {"eur": {"succeeded": 4_100}}
    assert set(till.results("feb.csv.results.csv")) == {"feb-row-1", "feb-row-2"}
    assert provider.order("feb-row-1").moved == 1
    assert provider.report().moved == 4


@pytest.mark.parametrize("confirm", ["manual", "automatic"])
@pytest.mark.parametrize(
    "february",
    [
        FEBRUARY,
        numbered(("Ann", "10.00"), ("Bob", "11.00")),
        numbered(("Cid", "10.00"), ("Dee", "10.00")),
        JANUARY,
    ],
)
def test_row_numbers_of_another_journal_are_never_told_paid(till, february, confirm):
    """The provider replays the session of January's row: it is another journal's payout."""
    rules = emulator.Rules(confirmation=emulator.Confirmation(confirm))
    provider = till.opens(rules=rules)
    till.has(JANUARY, "jan.csv")
    till.has(february, "feb.csv")
    words = ("--yes", "--confirm", confirm)
    till("pay", "jan.csv", *words, "--journal", "jan.journal")
    said = till.json("pay", "feb.csv", *words, "--journal", "feb.journal", exits=7)
    assert (said["succeeded"], said["failed"]) == (0, 0)
    # What was in flight as the run was halted is shown as the journal has it.
    assert set(said["sums"]["eur"]) <= {"open", "unknown"}
    assert "the session is that of the same key in another journal" in said["halted"]
    assert (provider.report().moved, provider.report().moved_twice) == (2, 0)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((), ("--key-prefix", "a-"), "was started with no --key-prefix"),
        (("--key-prefix", "a-"), (), "was started with --key-prefix 'a-'"),
        (("--key-prefix", "a-"), ("--key-prefix", "b-"), "was started with --key-prefix 'a-'"),
    ],
)
def test_a_prefix_belongs_to_the_batch(till, first, second, words):
    """Another one is refused, and the right one is named; the next command has it."""
    provider = till.opens()
    till.has(JANUARY, "jan.csv")
    till("pay", "jan.csv", "--yes", *first)
    requests = session_calls(provider)
    result = till("pay", "jan.csv", "--yes", *second, exits=2)
    assert words in result.stderr
    assert till.json("pay", "jan.csv", "--yes", *first)["replayed"] == 2
    assert session_calls(provider) == requests
    till("settle", "jan.csv", *first)


def test_the_next_command_has_the_prefix(till):
    """The one that goes on must know the keys."""
    till.opens()
    till.has(numbered(("Ann", "10.00"), ("Bob", STUCK)), "jan.csv")
    words = ("pay", "jan.csv", "--yes", "--key-prefix", "j-")
    said = till.json(*words, "--deadline", "2", exits=3)
    assert said["next"] == "smartglocal payouts settle jan.csv --key-prefix j-"
    stopped = till.json(*words, "--spend-limit", "1eur", "--batch", "x", exits=6)
    assert "--key-prefix j- --batch x" in stopped["next"]


@pytest.mark.parametrize("prefix", ["", " a", "\n", "x" * 101])
@pytest.mark.parametrize("command", ["pay", "check", "settle"])
def test_a_prefix_that_cant_be(till, command, prefix):
    """It is refused by its option."""
    till.opens()
    till.has(JANUARY, "jan.csv")
    till("pay", "jan.csv", "--yes")
    yes = ("--yes",) if command == "pay" else ()
    result = till(command, "jan.csv", *yes, "--key-prefix", prefix, exits=2)
    problem = "expected up to 100 printable characters, no space in front" if prefix else "is empty"
    assert f"--key-prefix: {problem}" in result.stderr


def test_a_prefix_that_makes_a_key_too_long(till):
    """It is a problem of the row, as any other key that can't be."""
    till.opens()
    till.has(f"{HEADER}{'k' * 150},1.00,eur,hash,Ann\n", "jan.csv")
    result = till("check", "jan.csv", "--key-prefix", "p" * 60, exits=1)
    assert "1 to 200 printable characters" in " ".join(result.stdout.split())


def test_other_rows_under_known_keys_of_another_batch(till):
    """Payouts of the same keys and contents are not paid again; the output names their batch."""
    provider = till.opens()
    till.has(rows(3), "one.csv")
    till("pay", "one.csv", "--yes")
    till.has(f"{rows(3)}z,1,usd,hash,Jane Roe\n", "two.csv")
    result = till("pay", "two.csv", "--yes")
    words = "3 rows of two.csv are in the journal already, 3 in the batch 'one.csv', and are not"
    assert words in result.stderr
    assert provider.report().moved == 4


# --- Results that show more --------------------------------------------------------------------


@pytest.mark.parametrize("results", ["p.csv.results.csv", "r.jsonl"])
def test_a_journal_that_lacks_what_the_results_show(till, results):
    """An older copy, a new journal, or none: refused before the question, with what to do."""
    provider = till.opens()
    till.has(rows(4), "p.csv")
    words = ("pay", "p.csv", "--yes", "--results", results, "--concurrency", "1")
    till(*words, "--spend-limit", "205usd", exits=6)
    older = till.journal.read_bytes()
    till(*words)
    requests = session_calls(provider)
    till.journal.write_bytes(older)
    till.journal.with_name(f"{till.journal.name}.lock").unlink()
    result = till(*words, exits=7)
    assert f"{results} shows 2 payouts as paid that the journal {till.journal}" in result.stderr
    assert "reconcile REPORT --adopt" in result.stderr
    till.journal.unlink()
    result = till(*words, exits=7)
    assert f"{results} shows 4 payouts as paid" in result.stderr
    assert session_calls(provider) == requests


# --- A halt that comes up during the run -------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_the_last_payouts_of_a_run_halt_it(till, count):
    """All are under way when one of them notices: the run ends with the halt, and not with 0."""
    rules = emulator.Rules(confirmation=emulator.Confirmation.AUTOMATIC)
    till.opens(rules=rules)
    till.has(rows(count))
    said = till.json("pay", "p.csv", "--yes", exits=7)
    assert "without a confirm from this journal" in said["halted"]
    assert till.json("status", "p.csv", exits=7)["halt"]["kind"] == "mismatch"
    assert till.json("settle", "p.csv", exits=7)["exit_code"] == 7


def test_all_settled_and_halted(till):
    """A run that has nothing to do looks at the halt, too."""
    till.opens()
    till.has(rows(2))
    till("pay", "p.csv", "--yes")
    till("journal", "quarantine")
    assert "quarantine" in till.json("pay", "p.csv", "--yes", exits=7)["halted"]
    assert till.json("settle", "p.csv", exits=7)["exit_code"] == 7
    till("journal", "resume", "--yes")
    till("pay", "p.csv", "--yes")


# --- Two at once -------------------------------------------------------------------------------


def at_work(till: Till, provider: emulator.Provider) -> subprocess.Popen[str]:
    """Start a payment that stays in progress, and holds the journal until it is interrupted."""
    till.has(rows(1, k0=STUCK), "one.csv")
    first = till.child("pay", "one.csv", "--yes", "--deadline", "500")
    while session_calls(provider) < 3:
        assert first.poll() is None
        time.sleep(0.01)
    return first


def test_two_at_once_both_pay(till: Till):
    """The second one says for which process it waits, and pays when that one has ended."""
    provider = till.opens()
    first = at_work(till, provider)
    till.has(rows(2).replace("\nk", "\nm"), "two.csv")
    second = till.child("pay", "two.csv", "--yes")
    assert second.stderr is not None
    said = second.stderr.readline()
    command = r"\S+ -m smartglocal_async payouts pay one.csv --yes --deadline 500"
    waiting = rf"waiting for process {first.pid} \({command}\), which uses "
    assert re.match(waiting + re.escape(f"{till.journal}, for 600 s at most (--wait)"), said)
    assert provider.report().moved == 0
    first.send_signal(signal.SIGINT)
    _ = first.communicate(timeout=120)
    _ = second.communicate(timeout=120)
    assert second.returncode == 0
    assert (provider.report().moved, provider.report().moved_twice) == (2, 0)


def test_a_wait_that_is_interrupted(till):
    """Nothing was sent, and it says so."""
    provider = till.opens()
    first = at_work(till, provider)
    second = till.child("decide", "k0", "--paid", "--reason", "x", "--yes")
    assert second.stderr is not None
    assert second.stderr.readline().startswith("waiting for process")
    second.send_signal(signal.SIGINT)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 130
    assert "interrupted while waiting for the journal; nothing was sent" in said
    first.kill()
    _ = first.communicate(timeout=120)


def test_a_command_of_another_process_shows_no_password(till):
    """A word with an address is masked, as it may hold a password."""
    from smartglocal_async.cli.payouts.journals import command_of  # noqa: PLC0415

    till.opens()
    child = till.child(
        *("status", "--watch", "--journal", "postgres://u:hunter2@127.0.0.1:9/d"),
    )
    try:
        said = command_of(str(child.pid))
    finally:
        child.kill()
        _ = child.communicate()
    assert "hunter2" not in said
    assert command_of("unknown") == ""
    assert str(os.getpid()) not in command_of("999999999")


def test_busy_has_its_own_error():
    """It is one of a journal that can't be used, and names file and process."""
    busy = sg.errors.JournalBusy("j", "42")
    assert isinstance(busy, sg.JournalUnusable)
    assert str(busy) == "the journal j: process 42 has it; only one may write to it"


# --- Paid already, under other keys ------------------------------------------------------------


def aged(till: Till, seconds: float) -> None:
    """Have all that the journal has be written so many seconds earlier."""
    with sqlite3.connect(till.journal) as database:
        database.execute("UPDATE entry SET updated_at = updated_at - ?", (seconds,))
    database.close()


@pytest.mark.parametrize(
    ("seconds", "ago"), [(0, "just now"), (7_300, "2 hours ago"), (172_900, "2 days ago")]
)
def test_exported_again_under_new_keys(till, seconds, ago):
    """Without a terminal it is refused, with the batch; a person, or an option, may allow it."""
    provider = till.opens()
    till.has(rows(12), "nov.csv")
    till("pay", "nov.csv", "--yes")
    aged(till, seconds)
    till.has(rows(12).replace("\nk", "\nn"), "again.csv")
    requests = session_calls(provider)
    told = till.json("pay", "again.csv", "--yes", exits=2)["error"]
    words = (
        f"12 of 12 rows have the payee and the sum of payouts in the batch 'nov.csv', paid {ago}"
    )
    assert told["message"] == (
        f"{words}; nothing was sent: if these are other payments, use --allow-repeats"
    )
    assert (told["type"], told["rows"]) == ("Repeats", 12)
    assert [(one["batch"], one["rows"]) for one in told["repeats"]] == [("nov.csv", 12)]
    assert session_calls(provider) == requests
    ours, theirs = open_terminal()
    child = till.child("pay", "again.csv", stdin=theirs)
    os.write(ours, b"n\n")
    _, said = child.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert said.index(words) < said.index("Pay 12 payouts")
    assert words in till("pay", "again.csv", "--yes", "--allow-repeats").stderr
    assert provider.report().moved == 24
    assert "have the payee" not in till("pay", "again.csv", "--yes").stderr


@pytest.mark.parametrize(
    ("days", "fresh", "exits"), [(4.9, 2, 2), (4.9, 3, 2), (4.9, 4, 0), (5.1, 0, 0), (30, 0, 0)]
)
def test_what_is_paid_each_week_passes(till, days, fresh, exits):
    """As does a file of which less than half repeats; the output says so, too."""
    provider = till.opens()
    till.has(rows(3), "week-1.csv")
    till("pay", "week-1.csv", "--yes")
    aged(till, days * 86_400)
    others = "".join(f"x{n},{900 + n}.00,usd,hash-{n},Jo Bloggs\n" for n in range(fresh))
    till.has(rows(3).replace("\nk", "\nw") + others, "week-2.csv")
    result = till("pay", "week-2.csv", "--yes", exits=exits)
    assert f"3 of {3 + fresh} rows have the payee" in result.stderr
    assert provider.report().moved == 3 + (0 if exits else 3 + fresh)


@pytest.mark.parametrize(
    ("change", "is_repeat"),
    [
        (("hash", "other-hash"), False),
        ((".00,usd", ".01,usd"), False),
        ((",usd,", ",eur,"), False),
        (("Jane Roe", "Joan Roe"), True),
    ],
)
def test_another_payee_or_sum_is_no_repeat(till, change, is_repeat):
    """The instrument, the amount and the currency tell; how a name is written doesn't."""
    till.opens()
    till.has(rows(2), "one.csv")
    till("pay", "one.csv", "--yes")
    till.has(rows(2).replace("\nk", "\nn").replace(*change), "two.csv")
    result = till("pay", "two.csv", "--yes", exits=2 if is_repeat else 0)
    assert ("have the payee" in result.stderr) is is_repeat


def test_what_failed_before_is_no_repeat(till):
    """No money moved: another try under another key is what there is to do."""
    till.opens()
    till.has(rows(2, k0=DECLINED, k1=DECLINED), "one.csv")
    till("pay", "one.csv", "--yes", exits=1)
    till.has(rows(2, k0=DECLINED, k1=DECLINED).replace("\nk", "\nn"), "two.csv")
    assert "have the payee" not in till("pay", "two.csv", "--yes", exits=1).stderr
