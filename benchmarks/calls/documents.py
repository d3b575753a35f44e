"""The cost of JSON in a call: writing the request and reading the answer, by library."""

import json
import random
import time
from collections.abc import Callable
from typing import Final

from ..work import ANSWER, KEY, document

_MICRO: Final = 1e6
_write: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def measure_json(rounds: int, repeats: int, order: random.Random) -> dict[str, list[float]]:
    """Return the microseconds of one request written and one answer read, by library."""
    libraries = _libraries()
    taken: dict[str, list[float]] = {name: [] for name in libraries}
    for _ in range(rounds):
        for name in order.sample(list(libraries), len(libraries)):
            taken[name].append(_time(libraries[name], repeats))
    return taken


def _libraries() -> dict[str, Callable[[], object]]:
    request = document(KEY)
    libraries: dict[str, Callable[[], object]] = {
        "json": lambda: (_write(request).encode(), json.loads(ANSWER.decode()))
    }
    try:
        import orjson  # noqa: PLC0415 - optional
    except ImportError:
        return libraries
    libraries["orjson"] = lambda: (orjson.dumps(request), orjson.loads(ANSWER))
    return libraries


def _time(act: Callable[[], object], repeats: int) -> float:
    begun = time.process_time()
    for _ in range(repeats):
        _ = act()
    return (time.process_time() - begun) / repeats * _MICRO
