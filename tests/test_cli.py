"""The command as a whole: versions, help, the missing extra, output that is safe anywhere."""

import errno
import io
import os
import pty
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from smartglocal_async.cli import grammar, main
from smartglocal_async.cli.app import app
from smartglocal_async.cli.failures import ExitCode, explained
from smartglocal_async.cli.screen import counted, printable, write_line

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "smartglocal_async")


def run(*arguments: str):
    """Run the command in this process."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def in_terminal(*arguments: str, columns: int = 80, **environment: str) -> str:
    """Run the command in a terminal of its own, and give what it wrote there."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            (*COMMAND, *arguments),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment},
        )
        os.close(theirs)
        written = b""
        try:
            while chunk := screen.read(65536):
                written += chunk
        except OSError:  # Linux says so at the end of a terminal.
            pass
        assert process.wait() == 0
    return written.decode()


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
    assert "repeat a create only with the same key. 4 not sent: repeat freely." in " ".join(
        text.split()
    )


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


def test_the_other_extras_are_not_needed():
    """The extra `cli` alone is what the demo of the README installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    own = set(map(name_of, [*project["dependencies"], *extras["cli"]]))
    listed = chain.from_iterable(extras[extra] for extra in extras if extra not in {"cli", "dev"})
    others = set(map(name_of, listed)) - own - {"smartglocal_async"}
    assert {"asyncpg", "pgqueuer"} <= others
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(others)}))"
    program = f"{blocked}; from smartglocal_async.cli import app; print(app.app)"
    done = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def name_of(requirement: str) -> str:
    """Give the module that a requirement brings."""
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

    monkeypatch.setattr(grammar.TyperGroup, place, interrupt)
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
    """A closed pipe is no failure to explain: nobody would read it."""
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
