"""The results file: only complete lines, also after a kill, and no other file is damaged."""

import contextlib
import csv
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from places import ROOT

import smartglocal_async as sg
from smartglocal_async.payouts.files.results import FIELDS

PAID: Final = sg.PayoutOutcome(
    key="p-1",
    state=sg.PayoutState.SUCCEEDED,
    amount=12_345,
    currency="usd",
    session_id="ps_1",
    payout_id="po_1",
    attempts=3,
)
REFUSED: Final = sg.PayoutOutcome(
    key="p,2",
    state=sg.PayoutState.FAILED,
    amount=500,
    currency="jpy",
    code="declined",
    reason='the card\n4000 0566 5566 5556 is "closed"',
    replayed=True,
)
NOT_TAKEN: Final = sg.PayoutOutcome(
    key="p-3",
    state=sg.PayoutState.REFUSED,
    error=sg.InvalidRequest("payment_method", "is wrong"),
)
NAMES: Final = ["r.csv", "r.jsonl"]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a results file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    return [json.loads(line) for line in text.splitlines()]


def keys_in(path: Path) -> list[str]:
    """Return the keys of a results file, in its order."""
    return [line["key"] for line in lines_of(path)]


def write(path: Path, *outcomes: sg.PayoutOutcome) -> None:
    """Write outcomes."""
    with sg.payouts.ResultsFile(path) as results:
        for outcome in outcomes:
            results.append(outcome)


def test_a_csv(tmp_path):
    """One header, amounts in major units, a line for each outcome, no card number in a reason."""
    path = tmp_path / "r.csv"
    write(path, PAID)
    write(path, REFUSED)
    assert path.read_text(encoding="utf-8") == (
        "key,state,amount,currency,session_id,payout_id,code,reason,attempts,replayed\n"
        "p-1,succeeded,123.45,usd,ps_1,po_1,,,3,false\n"
        '"p,2",failed,500,jpy,,,declined,"the card *** is ""closed""",0,true\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://example.invalid","x")',
        "=1+1",
        "+49",
        "-1",
        "@SUM(A1)",
        "\uff1d1+1",
        "\uff0b1",
        "\uff0d1",
        "\uff20SUM(A1)",
        "'=1",
        "''",
        "a=1",
    ],
)
def test_a_cell_that_would_run(tmp_path, text):
    """A key, a code or a reason that a spreadsheet would take for a formula is text there."""
    outcome = attrs.evolve(PAID, key=text, code=text, reason=text)
    path = tmp_path / "r.csv"
    write(path, outcome)
    with path.open(encoding="utf-8", newline="") as lines:
        (row,) = csv.DictReader(lines)
    for name in ("key", "code", "reason"):
        assert not row[name].startswith(
            ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
        )
        assert row[name].removeprefix("'") == text
    assert list(sg.payouts.settled_keys(path)) == [text]
    write(tmp_path / "r.jsonl", outcome)
    assert [line["key"] for line in lines_of(tmp_path / "r.jsonl")] == [text]


def test_json_lines(tmp_path):
    """Amounts in minor units; absent values are null."""
    path = tmp_path / "r.jsonl"
    with sg.payouts.ResultsFile(path) as results:
        results.append(PAID)
        results.append(NOT_TAKEN)
    first, second = lines_of(path)
    assert list(first) == list(FIELDS)
    assert first == {
        "key": "p-1",
        "state": "succeeded",
        "amount": 12_345,
        "currency": "usd",
        "session_id": "ps_1",
        "payout_id": "po_1",
        "code": None,
        "reason": None,
        "attempts": 3,
        "replayed": False,
    }
    assert (second["amount"], second["reason"]) == (None, "payment_method: is wrong")


@pytest.mark.parametrize("name", NAMES)
def test_for_the_owner_alone_and_at_once(tmp_path, name):
    """The file is private whatever the umask, and each line is readable at once."""
    before = os.umask(0)
    try:
        with sg.payouts.ResultsFile(tmp_path / name) as results:
            results.append(PAID)
            assert [line["key"] for line in lines_of(tmp_path / name)] == ["p-1"]
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", NAMES)
def test_a_line_cut_short_at_any_byte(tmp_path, name):
    """A torn line is cut off and the complete lines stay, at any byte."""
    path = tmp_path / name
    write(path, PAID, REFUSED)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        write(path, REFUSED)
        left = whole[:size].count(b"\n") - (name == "r.csv")
        keys = ["p-1", "p,2"][: max(left, 0)]
        assert [line["key"] for line in lines_of(path)] == [*keys, "p,2"], size


@pytest.mark.parametrize("name", NAMES)
def test_a_long_torn_line(tmp_path, name):
    """A torn line longer than a block is cut off, as the first and as a later line."""
    path = tmp_path / name
    write(path, PAID)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"' + b"x" * 20_000)
    write(path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", b"key,amount,currency\np-1,1,usd\n"),
        ("r.csv", b"key,amount"),
        ("r.jsonl", b'{"key":"p-1","amount_details":{}}\n'),
        ("r.jsonl", b"[1]\n"),
        ("r.jsonl", b"key,amount\n"),
        ("r.jsonl", b"key"),
    ],
)
def test_another_file_is_not_harmed(tmp_path, name, content):
    """Another file, such as the payout file itself, is refused and left unchanged."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(sg.InvalidRequest, match="something else than results"):
        write(path, PAID)
    assert path.read_bytes() == content


def test_one_process_at_a_time(tmp_path):
    """A second process is refused, because it would cut off the line being written."""
    with (
        sg.payouts.ResultsFile(tmp_path / "r.csv"),
        pytest.raises(BlockingIOError, match="another process"),
    ):
        write(tmp_path / "r.csv", PAID)
    write(tmp_path / "r.csv", PAID)


def test_it_has_to_be_open(tmp_path):
    """Writing before opening or after closing is misuse; opening and closing twice is fine."""
    results = sg.payouts.ResultsFile(tmp_path / "r.csv")
    with pytest.raises(sg.Misuse, match="isn't open"):
        results.append(PAID)
    with results:
        results.open()
    results.close()
    with pytest.raises(sg.Misuse, match="isn't open"):
        results.append(PAID)


def test_full_disk_leaves_complete_lines(tmp_path):
    """A line that doesn't fit raises the system's error, and nothing of it stays."""
    program = (
        "import resource, signal, sys; sys.path[:0] = ['tests/payouts/files', 'tests/support']\n"
        "import smartglocal_async as sg\n"
        "from test_results import PAID\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))\n"
        "with sg.payouts.ResultsFile(sys.argv[1]) as results:\n"
        "    try:\n"
        "        while True: results.append(PAID)\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    path = tmp_path / "r.csv"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "File too large\n"
    assert path.read_bytes().endswith(b",3,false\n")
    assert path.stat().st_size <= 200


def test_a_real_kill(tmp_path):
    """Killed while writing and opened again: every line is complete, and none was lost."""
    program = (
        "import sys; sys.path[:0] = ['tests/payouts/files', 'tests/support']\n"
        "import attrs, smartglocal_async as sg\n"
        "from test_results import PAID\n"
        "with sg.payouts.ResultsFile(sys.argv[1]) as results:\n"
        "    for number in range(10**9):\n"
        "        results.append(attrs.evolve(PAID, key=str(number)))\n"
        "        if number % 100 == 0: print(number, flush=True)\n"
    )
    path = tmp_path / "r.csv"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        told = [int(running.stdout.readline()) for _ in range(3)][-1]
        running.send_signal(signal.SIGKILL)
    write(path, PAID)
    keys = [line["key"] for line in lines_of(path)]
    assert keys[:-1] == [str(number) for number in range(len(keys) - 1)]
    assert len(keys) - 2 >= told
    assert keys[-1] == "p-1"


OPEN: Final = attrs.evolve(PAID, state=sg.PayoutState.OPEN, payout_id=None, replayed=False)
AGAIN: Final = attrs.evolve(PAID, replayed=True)


@pytest.mark.parametrize("name", NAMES)
def test_each_key_has_one_line_after_a_run(tmp_path, name):
    """Its last state, with reruns and within one run; other lines are as they were."""
    path = tmp_path / name
    write(path, OPEN, REFUSED)
    write(path, AGAIN, REFUSED)
    write(path, attrs.evolve(PAID, key="p-9"))
    assert keys_in(path) == ["p-1", "p,2", "p-9"]
    states = {line["key"]: line["state"] for line in lines_of(path)}
    assert states == {"p-1": "succeeded", "p,2": "failed", "p-9": "succeeded"}
    write(path, OPEN, attrs.evolve(OPEN, key="p-2"), PAID)
    assert keys_in(path) == ["p,2", "p-9", "p-2", "p-1"]
    assert {item.name for item in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("name", NAMES)
def test_a_try_that_was_refused_replaces_nothing(tmp_path, name):
    """It says nothing of a payout that was made before; alone, the last one stays."""
    path = tmp_path / name
    refused = attrs.evolve(NOT_TAKEN, key="p-1")
    write(path, PAID)
    write(path, refused, NOT_TAKEN)
    write(path, NOT_TAKEN)
    assert [(line["key"], line["state"]) for line in lines_of(path)] == [
        ("p-1", "succeeded"),
        ("p-3", "refused"),
    ]
    write(path, attrs.evolve(PAID, key="p-3"))
    assert [line["state"] for line in lines_of(path)] == ["succeeded", "succeeded"]


def test_the_lines_of_another_release_stay_as_they_are(tmp_path):
    """With their columns, quotes and line breaks."""
    path = tmp_path / "r.csv"
    old = 'note,key,state,session_id,payout_id\n"a ""b"",\nc",p-7,failed,,\nx,p-1,open,,\n'
    path.write_text(old, encoding="utf-8", newline="")
    write(path, PAID)
    expected = old.replace("x,p-1,open,,\n", ",p-1,succeeded,ps_1,po_1\n")
    assert path.read_text(encoding="utf-8") == expected


def test_a_link_and_its_rights_stay(tmp_path):
    """What it points to is replaced, with the same rights."""
    (tmp_path / "r.csv").symlink_to(tmp_path / "real.csv")
    write(tmp_path / "r.csv", OPEN)
    (tmp_path / "real.csv").chmod(0o640)
    write(tmp_path / "r.csv", PAID)
    assert (tmp_path / "r.csv").is_symlink()
    assert keys_in(tmp_path / "real.csv") == ["p-1"]
    assert stat.S_IMODE((tmp_path / "real.csv").stat().st_mode) == 0o640


def test_if_the_file_cannot_be_replaced_all_lines_stay(tmp_path, monkeypatch):
    """Nothing is lost, nothing stays beside it, and the next run leaves one line."""
    path = tmp_path / "r.csv"
    write(path, OPEN)

    def fails(_self: Path, _target: Path) -> Path:
        raise PermissionError

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", fails)
        write(path, PAID)
    assert keys_in(path) == ["p-1", "p-1"]
    assert {item.name for item in tmp_path.iterdir()} == {"r.csv"}
    write(path, AGAIN)
    assert keys_in(path) == ["p-1"]


def test_an_interrupt_leaves_all_lines(tmp_path):
    """It ends at once."""
    path = tmp_path / "r.csv"
    write(path, OPEN)
    with contextlib.suppress(KeyboardInterrupt), sg.payouts.ResultsFile(path) as results:
        results.append(PAID)
        raise KeyboardInterrupt
    assert keys_in(path) == ["p-1", "p-1"]


def test_a_file_that_was_replaced_meanwhile_is_opened_again(tmp_path, monkeypatch):
    """Lines would otherwise be written to a file that nothing names."""
    path = tmp_path / "r.csv"
    write(path, PAID)
    real, opens = os.open, list[object]()

    def opened(*arguments: Any, **options: Any) -> int:
        descriptor = real(*arguments, **options)
        if arguments[0] == path and not opens:
            opens.append(path)
            (tmp_path / "new").write_bytes(path.read_bytes())
            (tmp_path / "new").replace(path)
        return descriptor

    monkeypatch.setattr(os, "open", opened)
    write(path, attrs.evolve(PAID, key="p-2"))
    assert opens
    assert keys_in(path) == ["p-1", "p-2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_kill_while_lines_are_replaced(tmp_path, name):
    """At any moment every key has a complete line, and the next run leaves one each."""
    program = (
        "import sys; sys.path[:0] = ['tests/payouts/files', 'tests/support']\n"
        "import attrs, smartglocal_async as sg\n"
        "from test_results import PAID\n"
        "outcomes = [attrs.evolve(PAID, key=f'k{number}') for number in range(300)]\n"
        "for turn in range(10**9):\n"
        "    with sg.payouts.ResultsFile(sys.argv[1]) as results:\n"
        "        for one in outcomes:\n"
        "            results.append(one)\n"
        "    print(turn, flush=True)\n"
    )
    path = tmp_path / name
    for turns in (1, 2, 5):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as running:
            assert running.stdout is not None
            for _ in range(turns):
                assert running.stdout.readline()
            running.send_signal(signal.SIGKILL)
        assert set(sg.payouts.settled_keys(path)) == {f"k{number}" for number in range(300)}
    write(path, attrs.evolve(PAID, key="k0"))
    assert sorted(keys_in(path)) == sorted(f"k{number}" for number in range(300))
