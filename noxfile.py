"""One session per gate, the cheapest first; ``nox`` runs all but the four that are long."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
CODE = ("smartglocal_async", "tests", "examples", "benchmarks", "noxfile.py")
FEWER = {"SMARTGLOCAL_EXAMPLES": "20"}  # All are tried once, by `pytest --cov`.
RUFF = "ruff==0.17.6"  # Pinned, so that new rules arrive on purpose.

PROOF = (
    *("tests/model", "tests/test_payouts_faults.py", "tests/test_worst_provider.py", "tests/crash"),
    *("tests/simulation", "tests/test_power_loss.py", "tests/test_journal_crash.py"),
)
WHOLE = {"SMARTGLOCAL_LARGE_SEARCH": "1", "SMARTGLOCAL_EVERY_POINT": "1"}

nox.needs_version = ">=2025.10"
# The interpreter that runs nox is left to `pytest --cov`, which follows.
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
nox.options.sessions = (
    *("format", "lint", "layers", "types", "docs", "lowest"),
    *(f"tests-{python}" for python in PYTHONS if python != HERE),
)
# A machine that lacks one of the interpreters passes it over with a word, in CI too.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.default_venv_backend = "uv|virtualenv"  # An environment in five seconds, not in thirty.
nox.options.error_on_external_run = True

# pyenv puts shims on the path that fail for every version but the chosen one; what it has
# installed is found in its own folders.
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
INSTALLED = [str(folder) for python in PYTHONS for folder in sorted(PYENV.glob(f"{python}.*/bin"))]
os.environ["PATH"] = os.pathsep.join([*INSTALLED, os.environ["PATH"]])


@nox.session
def format(session: nox.Session) -> None:  # noqa: A001 - the name of the gate
    """The code is laid out by one hand."""
    session.install(RUFF)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def lint(session: nox.Session) -> None:
    """Every rule of ruff but the ones that pyproject.toml gives a reason for."""
    session.install(RUFF)
    session.run("ruff", "check", *CODE)


@nox.session
def layers(session: nox.Session) -> None:
    """Imports point down, and each library has its one home."""
    session.install(".[cli]", "pytest", "import-linter>=2.16")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Both checkers agree, in their strictest mode."""
    session.install(".[dev]", "orjson", "mypy>=2.4", "pyright[nodejs]>=1.1.414")
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation builds, and every link in it leads somewhere."""
    session.install(".[cli]", "pytest", "mkdocs>=1.6", "mkdocstrings[python]>=1")
    session.run("mkdocs", "build", "--strict", "--quiet")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests pass on every interpreter that is installed, and on the newest typer."""
    session.install("-e", ".[dev]")
    session.install("--upgrade", "typer")  # The extra `cluster` holds it back.
    session.run("pytest", "-n", "auto", "-m", "not thorough", *session.posargs, env=FEWER)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The tests pass on the lowest versions that the package says it works with."""
    session.install("-e", ".[dev]", *lowest_versions())
    session.run("pytest", "-n", "auto", "-m", "not thorough", *session.posargs, env=FEWER)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the goals, each as a ratio inside one run."""
    session.install(".[cli,fast,postgres]", "orjson")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Payouts on a virtual clock, 100,000 times; ``-- FIRST NUMBER`` takes other seeds."""
    session.install("-e", ".")
    seeds = session.posargs or ("0", "100000")
    session.run("python", "tests/simulation/simulate.py", *seeds)


@nox.session
def chaos(session: nox.Session) -> None:
    """30,000 payouts by eight workers in a storm; ``-- --payouts N --seed N`` has another one."""
    session.install("-e", ".[dev]")
    session.run("python", "tests/chaos/storm.py", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def proof(session: nox.Session) -> None:
    """Count the tables of docs/explanation/proof.md; ``-- FILE`` says where to write them."""
    session.install("-e", ".[dev]")
    file = session.posargs[0] if session.posargs else "proof.md"
    session.run("pytest", "-n", "auto", "-q", *PROOF, env={**WHOLE, "SMARTGLOCAL_PROOF": file})


def lowest_versions() -> Iterator[str]:
    """Pin what the package itself needs to the floors in pyproject.toml."""
    for requirement in PROJECT["project"]["dependencies"]:
        yield requirement.replace(">=", "==")
