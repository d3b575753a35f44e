"""An asyncio-native SDK for the Smart Glocal payment API, with retries and idempotency.

A program that calls the API finds what it needs here. The records of the journal are in
`journal`, files and reports of payouts in `payouts`, answers in `models`, all errors in `errors`.
Names are loaded when they are first used, so that the import itself is quick.
"""

from typing import Any

from ._lazy import attach

_load, __dir__, __all__ = attach(__name__, __file__)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name == "__version__":
        from importlib import metadata  # noqa: PLC0415 - takes longer than the rest of the import

        return metadata.version("smartglocal-async")
    return _load(name)
