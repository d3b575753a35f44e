"""The command as a whole: versions, help, the missing extra, output that is safe anywhere."""

import errno
import io
import os
import re
import subprocess
import sys
import tomllib
from itertools import chain

import pytest
import typer
from places import ROOT
from terminal import in_terminal
from typer.testing import CliRunner

from smartglocal_async import emulator
from smartglocal_async.cli import app as cli_app
from smartglocal_async.cli import command, main
from smartglocal_async.cli.app import app
from smartglocal_async.cli.errors import ExitCode, explained
from smartglocal_async.cli.output import counted, printable, write_line
from smartglocal_async.keys import DEFAULT_KEY_BITS, MINIMUM_KEY_BITS
from smartglocal_async.payouts.protocol import Mode

pytestmark = pytest.mark.slow


def run(*arguments: str):
    """Run the command in this process."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_version_is_one_line():
    """The version goes to standard output, alone."""
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("smartglocal-async ")
    assert result.stdout.count("\n") == 1


def test_help_names_every_command_and_exit_code():
    """Help tells the commands and what the exit codes mean."""
    text = run("--help").stdout
    for word in ("demo", "emulator", "keygen", "sign", "verify", "doctor", "session"):
        assert f"\n  {word} " in text
    words = " ".join(text.split())
    assert "Repeat a `create` only with the same key." in words
    assert all(f" {code.value} " in words for code in ExitCode)


def first_line(node) -> str:
    """Return the line of a command in its group."""
    return node.help.splitlines()[0]


def listed(node, *path):
    """Return each group and command below a group, with its path."""
    for name, inner in node.commands.items():
        yield (*path, name), inner
        if hasattr(inner, "commands"):
            yield from listed(inner, *path, name)


TREE = dict(listed(typer.main.get_command(app)))


@pytest.mark.parametrize(
    "group",
    [(), *(path for path, node in TREE.items() if hasattr(node, "commands"))],
    ids=lambda path: " ".join(path) or "smartglocal",
)
def test_help_of_a_group_has_a_line_for_each_command(group):
    """At 80 columns nothing is wrapped or cut short."""
    text = in_terminal_help(*group).partition("Commands:\n")[2].partition("\n\n")[0]
    lines = text.splitlines()
    inner = {path[-1]: node for path, node in TREE.items() if path[:-1] == group}
    assert [line.split(maxsplit=1) for line in lines] == [
        [name, first_line(node)] for name, node in inner.items()
    ]
    assert max(map(len, lines)) <= 80


def in_terminal_help(*path: str) -> str:
    """Return the help as a terminal of 80 columns shows it: it leaves two of them free."""
    return CliRunner().invoke(app, [*path, "--help"], terminal_width=78).stdout


COMMANDS = [path for path, node in TREE.items() if not hasattr(node, "commands")]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_line_of_a_command_begins_its_own_help(path):
    """The help of a command begins with the line that its group shows."""
    text = run(*path, "--help").stdout
    assert text.partition("\n\n")[2].strip().splitlines()[0] == first_line(TREE[path])


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_option_has_a_help_text(path):
    """Each option and argument of each command is explained."""
    unexplained = [one.name for one in TREE[path].params if not one.help and one.name != "help"]
    assert not unexplained


def test_help_of_the_emulator_has_a_line_for_each_option():
    """Each of its many options is explained in one line of 80 columns."""
    text = in_terminal_help("emulator").partition("Options:\n")[2]
    lines = [line for line in text.splitlines() if line]
    assert len(lines) == len(TREE["emulator",].params) + 1  # and --help
    assert all(line.startswith("  -") for line in lines)
    assert max(map(len, lines)) <= 80


OPTIONS_OF_THEIR_OWN = {
    "--journal": [
        ("payouts", "submit"),
        ("payouts", "work"),
        ("payouts", "batch", "limits"),
        ("payouts", "journal", "grants"),
    ],
    "--key": [("session", "create")],
    "--output": [("keygen",)],
}


def test_an_option_is_one_thing():
    """An option of several commands has the same metavar in all, and one help text in a group.

    A journal in a file or a database and one that has to be in a database are two options, and so
    are the keys of a create, which moves no money, and of the other calls.
    """
    found = {}
    for path in COMMANDS:
        for one in TREE[path].params:
            group = "payouts" if path[0] == "payouts" else ""
            name = one.opts[0]
            if path in OPTIONS_OF_THEIR_OWN.get(name, ()):
                name = f"{name} of {' '.join(path)}"
            found.setdefault(name, set()).add((one.metavar, group, one.help))
    for name in ("--json", "--yes", "--output", "--host", "--port", "--public-key"):
        assert len({(metavar, text) for metavar, _, text in found[name]}) == 1, name
    assert len({text for _, group, text in found["--key"] if not group}) == 1, "of a call"
    for name in (
        "--journal",
        "--server",
        "--batch",
        "--reason",
        "--wait",
        "--confirm",
        "--results",
    ):
        assert len({(metavar, text) for metavar, group, text in found[name] if group}) == 1, name


def test_choices_are_those_of_the_library():
    """The options have choices of their own, so that help needn't load the emulator."""
    params = {
        one.name: list(one.type.choices) for one in TREE["emulator",].params if has_choices(one)
    }
    assert params == {
        "webhook_version": ["v1", "v2"],
        "duplicates": [str(one.value) for one in emulator.Duplicates],
        "confirm": [str(one.value) for one in emulator.Confirmation],
        "second_start": [str(one.value) for one in emulator.Permission],
        "idempotency_header": [str(one.value) for one in emulator.Reaction],
        "capture": [str(one.value) for one in emulator.Capture],
    }
    (confirm,) = (one for one in TREE["payouts", "pay"].params if one.name == "confirm")
    assert list(confirm.type.choices) == [one.value for one in Mode if one is not Mode.ONE_STEP]
    assert cli_app.MIN_KEY_BITS == MINIMUM_KEY_BITS == DEFAULT_KEY_BITS


def has_choices(param) -> bool:
    """Return whether an option takes one of a few words."""
    return hasattr(param.type, "choices")


# What a version, a help text and a completion don't need, and takes time to import.
HEAVY = (
    *("aiohttp", "asyncpg", "cattrs", "cryptography", "orjson", "pgqueuer"),
    *("platformdirs", "rich", "sqlite3", "tenacity"),
    *("smartglocal_async.client", "smartglocal_async.payouts", "smartglocal_async.emulator"),
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        *((*path, "--help") for path in TREE),
        ("payouts",),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_what_needs_no_command_loads_none(arguments):
    """A version, a help text, and a misspelt command import nothing heavy."""
    program = (
        "import sys\n"
        "from smartglocal_async.cli import main\n"
        f"sys.argv = ['smartglocal', *{arguments!r}]\n"
        "try:\n    main()\n"
        f"finally:\n    print(*(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == (2 if arguments[-1] in {"payouts", "no-such-command"} else 0)
    assert done.stdout or "Usage: smartglocal " in done.stderr
    assert not done.stderr.splitlines()[-1]


def in_shell(**environment: str) -> str:
    """Run the command as a shell does for its completion; return what it prints."""
    return subprocess.run(
        (sys.executable, "-m", "smartglocal_async"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ, **environment),
    ).stdout


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _smartglocal_completion smartglocal"),
        ("zsh", "compdef _smartglocal_completion smartglocal"),
        ("fish", "complete --command smartglocal"),
    ],
)
def test_completion_has_a_script_for_each_shell(shell, line):
    """What a shell sources is printed, under the name of the console script."""
    assert line in in_shell(_SMARTGLOCAL_COMPLETE=f"source_{shell}")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("smartglocal pay", {"payouts"}),
        ("smartglocal payouts re", {"report", "reconcile", "retry"}),
        ("smartglocal payouts s", {"serve", "submit", "settle", "status"}),
        ("smartglocal payouts batch re", {"resume"}),
        ("smartglocal session start-payout --card", {"--card-token"}),
        ("smartglocal payouts pay --confirm man", {"manual"}),
        ("smartglocal session create --amount 1 --amount 2 --curr", {"--currency"}),
    ],
)
def test_completion_knows_commands_and_options(words, found):
    """Groups, commands, options and choices are completed, those of commands not yet loaded too."""
    printed = in_shell(
        _SMARTGLOCAL_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert set(printed.split()) == found


@pytest.mark.parametrize("command", ["demo", "emulator", "keygen", "sign", "verify", "doctor"])
def test_every_command_speaks_json(command):
    """Each command has --json, and a line of help for it."""
    assert "--json" in run(command, "--help").stdout


@pytest.mark.parametrize("name", ["typer", "rich"])
def test_process_without_the_extra_says_what_to_install(name):
    """Without the extra, the command names the missing package and the way to install it."""
    blocked = f"import sys; sys.modules[{name!r}] = None; import smartglocal_async.__main__"
    done = subprocess.run(
        (sys.executable, "-c", blocked), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"{name} is missing" in done.stderr or f"{name}." in done.stderr
    assert 'pip install "smartglocal-async[cli]"' in done.stderr


LOAD_ALL = """
import importlib, pkgutil
from smartglocal_async import cli

found = {one.name for one in pkgutil.walk_packages(cli.__path__, "smartglocal_async.cli.")}
print(len([importlib.import_module(name) for name in found]))
"""


def test_the_other_extras_are_not_needed():
    """The extra `cli` alone is what the demo of the README installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    own = set(map(name_of, [*project["dependencies"], *extras["cli"]]))
    listed = chain.from_iterable(extras[extra] for extra in extras if extra not in {"cli", "dev"})
    others = set(map(name_of, listed)) - own - {"smartglocal_async"}
    assert {"asyncpg", "pgqueuer"} <= others
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(others)}))"
    program = f"{blocked}\n{LOAD_ALL}"
    done = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def name_of(requirement: str) -> str:
    """Return the module that a requirement brings."""
    return re.split(r"[^A-Za-z0-9_-]", requirement)[0].lower().replace("-", "_")


def test_missing_extra_ends_main(monkeypatch, capsys):
    """The console script ends the same way."""
    monkeypatch.delitem(sys.modules, "smartglocal_async.cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "smartglocal-async[cli]" in capsys.readouterr().err


def test_other_missing_module_is_not_blamed_on_the_extra(monkeypatch):
    """A broken installation shows its own error, not advice that wouldn't help."""
    monkeypatch.setitem(sys.modules, "smartglocal_async.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        main()


def test_main_runs_the_command(monkeypatch, capsys):
    """The console script is the command under its own name."""
    monkeypatch.setattr(sys, "argv", ["anything", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "Usage: smartglocal " in capsys.readouterr().out


def test_interrupt_has_its_own_code(capsys):
    """Ctrl-C is one line on standard error, and the code that shells expect."""
    with pytest.raises(typer.Exit) as ended, explained(as_json=True):
        raise KeyboardInterrupt
    assert ended.value.exit_code == ExitCode.INTERRUPTED == 130
    assert capsys.readouterr() == ("", "smartglocal: interrupted\n")


class Interrupting:
    """An importer that is interrupted at one module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name, *_):
        """Find everything else elsewhere."""
        if name == self.name:
            raise KeyboardInterrupt


def test_interrupt_of_the_imports_is_told(monkeypatch, capsys):
    """Ctrl-C while the command still loads is the same line and code, and no traceback."""
    name = "smartglocal_async.cli.app"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(name), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "smartglocal: interrupted\n")


@pytest.mark.parametrize("place", ["parse_args", "invoke"])
def test_interrupt_outside_of_a_command_is_told(monkeypatch, place):
    """Ctrl-C while arguments are read, or beside a command, has the same words."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.TyperGroup, place, interrupt)
    result = run("demo", "--help")
    assert (result.exit_code, result.output) == (130, "smartglocal: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("session", "create", "--metadata", "a", "--metadata", "b"),
        ("session", "create", "--amount", "1", "--amount", "1"),
        ("demo", "--seed", "1", "--seed", "2"),
    ],
)
def test_option_given_twice_is_refused(arguments):
    """Of two values none is dropped without a word: the option is named, with exit code 2."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{arguments[-2]} is given more than once" in result.stderr


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1 order"), (0, "0 orders"), (2000, "2,000 orders")]
)
def test_one_is_no_plural(number, said):
    """A number and its noun agree."""
    assert counted(number, "order") == said


def test_reader_that_went_away_is_left_to_typer():
    """A closed pipe is no failure to explain: there is no reader."""
    with pytest.raises(BrokenPipeError), explained(as_json=True):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_unexpected_error_is_not_hushed_up():
    """A bug shows itself as one."""
    with pytest.raises(ZeroDivisionError), explained(as_json=False):
        raise ZeroDivisionError


def test_output_survives_a_narrow_encoding(monkeypatch):
    """A terminal that knows ASCII only gets escapes, and no traceback."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    write_line("Straße")
    assert written.getvalue() == b"Stra\\xdfe\n"


def test_terminal_gets_colours_and_a_bar():
    """On a terminal there is a moving bar, and colour."""
    written = in_terminal("demo", "--orders", "5")
    assert "\x1b[" in written
    assert "5/5" in written


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escape_codes_where_unwelcome(environment):
    """NO_COLOR and a dumb terminal get plain lines, on a narrow screen too."""
    written = in_terminal("demo", "--orders", "5", columns=40, **environment)
    assert "\x1b" not in written
    assert "5 of 5 orders settled" in written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with space", "plain, with space"),
        ("Straße 東京", "Straße 東京"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines", "two\\nlines"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_foreign_text_steers_no_terminal(text, shown):
    """Whatever a provider or a partner writes is shown, and nothing else happens."""
    assert printable(text) == shown
