"""One session for each check, the fastest first; ``nox`` runs all but those that take long."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
CODE = ("smartglocal_async", "tests", "examples", "benchmarks", "noxfile.py")
FEWER = {"SMARTGLOCAL_EXAMPLES": "20"}  # The test command of the README runs all of them once.
RUFF = "ruff==0.17.6"  # Pinned, so that new rules arrive on purpose.
SITE = ("mkdocs>=1.6", "mkdocs-material>=9.6", "mkdocstrings[python]>=1")

# The tests of the code that calls aiohttp, attrs, cattrs, tenacity or cryptography.
WITH_DEPENDENCIES = (
    *("tests/codec", "tests/integrations", "tests/observer", "tests/payouts/test_payouts.py"),
    *("tests/emulator/test_http.py", "tests/pages", "tests/webhooks"),
    *(str(file) for file in sorted(Path("tests").glob("test_*.py"))),
)
PROOF = (
    *(
        "tests/proof/model",
        "tests/proof/test_payout_faults.py",
        "tests/proof/test_worst_provider.py",
        "tests/proof/crash",
    ),
    *(
        "tests/proof/simulation",
        "tests/proof/test_power_loss.py",
        "tests/proof/test_journal_crash.py",
    ),
)
ONE_CHANGE = "smartglocal_async.recovery.x_of_confirm__mutmut_1"
NO_LIMIT = ("-o", "timeout=0", "-o", "faulthandler_timeout=0")
WHOLE = {"SMARTGLOCAL_LARGE_SEARCH": "1", "SMARTGLOCAL_EVERY_POINT": "1"}

nox.needs_version = ">=2025.10"
nox.options.sessions = (
    *("format", "lint", "layers", "types", "docs", "bench", "frameworks", "lowest", "newest"),
)
# A missing interpreter is skipped with a message, in CI too.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.default_venv_backend = "uv|virtualenv"  # An environment in five seconds, not in thirty.
nox.options.error_on_external_run = True
# uv has its own certificate authorities; those of the system may include a company's.
_ = os.environ.setdefault("UV_SYSTEM_CERTS", "true")

# The shims that pyenv puts on the path fail for every version but the selected one. The
# interpreters that it installed are in its own folders.
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
INSTALLED = [str(folder) for python in PYTHONS for folder in sorted(PYENV.glob(f"{python}.*/bin"))]
os.environ["PATH"] = os.pathsep.join([*INSTALLED, os.environ["PATH"]])
NEWEST = next((python for python in PYTHONS[::-1] if shutil.which(f"python{python}")), PYTHONS[-1])


@nox.session
def format(session: nox.Session) -> None:  # noqa: A001 - the name of the session
    """Check the format of the code."""
    session.install(RUFF)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def lint(session: nox.Session) -> None:
    """Check every rule of ruff, except those for which pyproject.toml states a reason."""
    session.install(RUFF)
    session.run("ruff", "check", *CODE)


@nox.session
def layers(session: nox.Session) -> None:
    """Check the import contracts: the layers, and which modules use a library."""
    session.install(".[cli]", "pytest", "import-linter>=2.16")
    session.run("lint-imports")


@nox.session
def house(session: nox.Session) -> None:
    """Check sizes, names and words by the rules of the layout."""
    session.run("python", "tests/support/house.py")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy and pyright, in their strict modes."""
    session.install(".[dev]", "orjson", "mypy>=2.4", "pyright[nodejs]>=1.1.414")
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, and look at it in a browser; a broken link is an error."""
    session.install("-e", ".[dev]", RUFF, *SITE)  # ruff formats the signatures.
    session.run("pytest", "-n", "0", "-m", "slow", "tests/test_site.py")


@nox.session
def publish_docs(session: nox.Session) -> None:
    """Commit the site of this version to the local branch gh-pages; push that branch yourself."""
    session.install("-e", ".[cli]", RUFF, *SITE, "mike>=2.1.3")
    version = ".".join(PROJECT["project"]["version"].split(".")[:2])
    env = {"NO_MKDOCS_2_WARNING": "1"}
    session.run("mike", "deploy", "--update-aliases", version, "latest", env=env)
    session.run("mike", "set-default", "latest")


@nox.session
def build(session: nox.Session) -> None:
    """Build wheel and sdist twice into dist/, compare them, and try the wheel."""
    shutil.rmtree("dist", ignore_errors=True)
    session.install("uv")
    session.run("python", "tests/support/build_check.py", "dist")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on every interpreter that is installed, with the newest typer."""
    session.install("-e", ".[dev]")
    session.install("--upgrade", "typer")  # The extra `cluster` requires an older one.
    session.run("pytest", "-n", "auto", "-m", "not slow", *session.posargs, env=FEWER)


@nox.session(python=NEWEST)
def newest(session: nox.Session) -> None:
    """Run the tests on the newest interpreter with eager tasks, and with the newest typer.

    With `asyncio.eager_task_factory` a task begins to run when it is created.
    """
    session.install("-e", ".[dev]")
    session.install("--upgrade", "typer")
    env = {**FEWER, "SMARTGLOCAL_EAGER": "1"}
    session.run("pytest", "-n", "auto", "-m", "not slow", *session.posargs, env=env)


@nox.session(python=NEWEST)
def eager(session: nox.Session) -> None:
    """Run the whole suite with eager tasks, including slow tests and proofs."""
    session.install("-e", ".[dev]")
    session.run("pytest", "-n", "auto", *session.posargs, env={"SMARTGLOCAL_EAGER": "1"})


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Test the code that uses a dependency with the lowest versions that the package allows."""
    session.install("-e", ".[dev]", *lowest_versions())
    tests = session.posargs or WITH_DEPENDENCIES
    session.run("pytest", "-n", "auto", "-m", "not slow", *tests, env=FEWER)


@nox.session
def bench(session: nox.Session) -> None:
    """Count the instructions of one call; fail over 3 % above benchmarks/instructions.json."""
    if shutil.which("valgrind") is None:
        session.skip("valgrind isn't installed")
    kept = json.loads(Path("benchmarks/instructions.json").read_text("utf-8"))
    figures = kept.get(f"{sys.version_info.major}.{sys.version_info.minor}", {"libraries": {}})
    # The libraries that the figures were kept with: a newer one may take more for its own work.
    pins = [f"{name}=={version}" for name, version in figures["libraries"].items()]
    session.install(".", *pins)
    session.run("python", "-m", "benchmarks.instructions")


@nox.session
def frameworks(session: nox.Session) -> None:
    """Test the documentation's examples for Litestar and Django with these frameworks."""
    session.install("-e", ".[dev]", "litestar>=2.18", "django>=5.2")
    session.run("pytest", "-n", "0", "-m", "slow", "tests/integrations/test_frameworks.py")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read 200,000 files of payouts made at random; ``-- NUMBER`` changes that."""
    session.install("-e", ".[dev]")
    (number,) = session.posargs or ("200000",)
    env = {"SMARTGLOCAL_FUZZ": number}
    fuzz = ("-m", "slow", *NO_LIMIT, "tests/payouts/files/test_fuzz.py")
    session.run("pytest", "-n", "auto", *fuzz, env=env)


@nox.session
def watch(session: nox.Session) -> None:
    """Watch and pause 20,000 payouts in a browser while workers pay; ``-- NUMBER`` changes that."""
    session.install("-e", ".[dev]")
    (number,) = session.posargs or ("20000",)
    test = "tests/cli/payouts/page/test_browser.py::test_a_batch_is_paused_and_goes_on_by_clicks"
    env = {"SMARTGLOCAL_WATCHED": number}
    session.run("pytest", "-n", "0", "-m", "slow", *NO_LIMIT, test, env=env)


@nox.session
def simulate(session: nox.Session) -> None:
    """Simulate 100,000 runs on a virtual clock; ``-- FIRST NUMBER`` selects the seeds."""
    session.install("-e", ".")
    seeds = session.posargs or ("0", "100000")
    session.run("python", "tests/proof/simulation/simulate.py", *seeds)


@nox.session
def chaos(session: nox.Session) -> None:
    """Run 30,000 payouts, eight workers, and faults; ``-- --payouts N --seed N`` changes that."""
    session.install("-e", ".[dev]")
    session.run(
        "python",
        "tests/proof/chaos/chaos_driver.py",
        *session.posargs,
        env={"PYTHONPATH": "tests/support"},
    )


@nox.session
def kills(session: nox.Session) -> None:
    """Run 600 payouts under all faults while processes are killed, 20 times on each journal."""
    session.install("-e", ".[dev]")
    driver = "tests/proof/chaos/kill_driver.py"
    session.run("python", driver, *session.posargs, env={"PYTHONPATH": "tests/support"})


@nox.session
def proof(session: nox.Session) -> None:
    """Write the tables of docs/explanation/proof.md; ``-- FILE`` names another file."""
    session.install("-e", ".[dev]")
    file = session.posargs[0] if session.posargs else "proof.md"
    env = {**WHOLE, "SMARTGLOCAL_PROOF": file}
    session.run("pytest", "-n", "auto", "-q", "-o", "timeout=1200", *PROOF, env=env)


@nox.session
def mutation(session: nox.Session) -> None:
    """Run the mutation tests of the code that moves money; ``-- PATTERN`` selects some mutants."""
    session.install("-e", ".[dev]", "mutmut==3.8.1")
    mutmut = PROJECT["tool"]["mutmut"]
    tests = (*mutmut["pytest_add_cli_args"], *mutmut["pytest_add_cli_args_test_selection"])
    patterns = " ".join(session.posargs or ("*",))
    support = os.pathsep.join((".", "tests/support"))
    env = {**FEWER, "PYTHONPATH": support, "SMARTGLOCAL_MUTANTS": patterns}
    # First, which tests reach which lines. mutmut makes the mutants, and tests one of them.
    # tests/support/mutating.py tests all others, without starting pytest anew for each.
    session.run("python", "-m", "pytest", "-q", "-p", "reached_lines", *tests, env=env)
    session.run("mutmut", "run", "--max-children", "1", ONE_CHANGE, env=FEWER)
    with session.chdir("mutants"):
        plugin = ("--rootdir=.", "-q", "--tb=no", "-p", "mutating")
        session.run("python", "-m", "pytest", *plugin, *tests, env=env)
    session.run("python", "tests/support/mutants.py")


def lowest_versions() -> Iterator[str]:
    """Yield the package's own dependencies, pinned to the lower bounds in pyproject.toml."""
    for requirement in PROJECT["project"]["dependencies"]:
        yield requirement.replace(">=", "==")
