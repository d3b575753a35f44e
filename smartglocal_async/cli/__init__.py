"""The command ``smartglocal``; Typer and Rich come with the extra ``cli``."""

import sys
from importlib.util import find_spec
from typing import NoReturn

_EXTRA = frozenset({"typer", "rich", "click"})
_MISUSE = 2
_INTERRUPTED = 130


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        _run()
    except KeyboardInterrupt:
        # The imports take a moment, too.
        _ = sys.stderr.write("smartglocal: interrupted\n")
        sys.exit(_INTERRUPTED)


def _run() -> None:
    try:
        # Imported when run: the package works without the extra, and so does this module.
        from .app import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        _miss(error.name)
    if find_spec("rich") is None:  # The commands import it when they are used.
        _miss("rich")
    app(prog_name="smartglocal")


def _miss(name: str | None) -> NoReturn:
    _ = sys.stderr.write(
        f'smartglocal: {name} is missing; install it with: pip install "smartglocal-async[cli]"\n'
    )
    sys.exit(_MISUSE)
