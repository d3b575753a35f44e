"""What JSON costs in a call: the request written and the answer read, by each library."""

import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Final

from .work import ANSWER, KEY, document

_MICRO: Final = 1e6
_write: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def measure_json(rounds: int, repeats: int, dice: random.Random) -> Mapping[str, list[float]]:
    """Give the microseconds of one request written and one answer read, by library."""
    libraries = _libraries()
    taken: dict[str, list[float]] = {name: [] for name in libraries}
    for _ in range(rounds):
        for name in dice.sample(list(libraries), len(libraries)):
            taken[name].append(_time(libraries[name], repeats))
    return taken


def _libraries() -> dict[str, Callable[[], object]]:
    order = document(KEY)
    libraries: dict[str, Callable[[], object]] = {
        "json": lambda: (_write(order).encode(), json.loads(ANSWER.decode()))
    }
    try:
        import orjson  # noqa: PLC0415 - optional
    except ImportError:
        return libraries
    libraries["orjson"] = lambda: (orjson.dumps(order), orjson.loads(ANSWER))
    return libraries


def _time(act: Callable[[], object], repeats: int) -> float:
    begun = time.process_time()
    for _ in range(repeats):
        _ = act()
    return (time.process_time() - begun) / repeats * _MICRO
