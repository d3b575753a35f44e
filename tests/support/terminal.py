"""Runs the command in a terminal of its own."""

import os
import pty
import subprocess
import sys
from typing import Final

import pytest
from places import ROOT

COMMAND: Final = (sys.executable, "-m", "smartglocal_async")


def open_terminal() -> tuple[int, int]:
    """Return the two ends of a new terminal; skip the test if the machine has none."""
    try:
        return pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be opened here: {error.strerror}")


def in_terminal(*arguments: str, columns: int = 80, **environment: str) -> str:
    """Run the command in a new terminal and return its output."""
    ours, theirs = open_terminal()
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
        except OSError:  # Linux reports the end of a terminal like this.
            pass
        assert process.wait() == 0
    return written.decode()
