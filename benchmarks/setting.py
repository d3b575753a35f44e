"""What every part of the benchmarks is given: where it runs, and how much it does."""

import random
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from smartglocal_async import PrivateKey

from .machine import Cores


@frozen(kw_only=True)
class Setting:
    """Where a run takes place, and how much it does."""

    order: random.Random
    """Of the turns."""
    cores: Cores
    folder: Path
    """Removed at the end."""
    pem: bytes
    key_file: Path
    """The same key."""
    is_quick: bool
    processes: int
    """For each figure, one after another."""
    rounds: int
    """Of each process."""


@contextmanager
def setting(*, seed: int, is_quick: bool, processes: int, rounds: int) -> Generator[Setting]:
    """Yield the setting of one run."""
    with TemporaryDirectory() as name:
        pem, key_file = PrivateKey.generate().pem(), Path(name, "key.pem")
        _ = key_file.write_bytes(pem)
        yield Setting(
            order=random.Random(seed),  # noqa: S311 - the order of turns guards nothing
            cores=Cores.split(),
            folder=Path(name),
            pem=pem,
            key_file=key_file,
            is_quick=is_quick,
            processes=processes,
            rounds=rounds,
        )
