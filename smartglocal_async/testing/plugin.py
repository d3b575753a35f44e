"""The pytest plugin: an emulated provider, and a client that is registered with it.

pytest loads it if the package is installed. A test sets faults, rules and settings with
``@pytest.mark.smartglocal(faults=..., rules=..., settings=...)``.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..client import SmartGlocal
    from ..emulator import Provider


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin's marker."""
    config.addinivalue_line(
        "markers",
        "smartglocal(faults=, rules=, settings=): what the emulator does wrong, "
        "how it reads the documents, and the client's Settings",
    )


@pytest.fixture
def smartglocal_emulator(request: pytest.FixtureRequest) -> "Iterator[Provider]":
    """A running emulator on a thread of its own, with a new pair of keys."""
    # Imported when used, as most tests of a program with this plugin don't use it.
    from .. import emulator  # noqa: PLC0415

    options = _options(request)
    with emulator.run_in_thread(
        faults=options.get("faults", emulator.FaultScript()),
        rules=options.get("rules", emulator.Rules()),
    ) as provider:
        yield provider


@pytest.fixture
def smartglocal_api(
    request: pytest.FixtureRequest, smartglocal_emulator: "Provider"
) -> "Iterator[SmartGlocal]":
    """A client of the emulator, closed after the test."""
    from ..client import SmartGlocal  # noqa: PLC0415

    key = smartglocal_emulator.private_key
    assert key is not None  # noqa: S101 - the emulator made the pair
    client = SmartGlocal(
        smartglocal_emulator.project,
        key,
        smartglocal_emulator.url,
        settings=_options(request).get("settings"),
    )
    yield client
    # Its connections end with the test's event loop; this ends the signing threads.
    asyncio.run(client.close())


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("smartglocal")
    return dict(marker.kwargs) if marker is not None else {}
