"""A pytest plugin: an emulated provider, and a client that is registered with it.

It is on by itself once the package is installed. A test that wants faults sets them with
``@pytest.mark.smartglocal(faults=..., rules=..., settings=...)``.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .client import SmartGlocal
    from .emulator import Provider


def pytest_configure(config: pytest.Config) -> None:
    """Make the plugin's marker known."""
    config.addinivalue_line(
        "markers",
        "smartglocal(faults=, rules=, settings=): what the emulator does wrong, "
        "how it reads the documents, and the client's Settings",
    )


@pytest.fixture
def smartglocal_emulator(request: pytest.FixtureRequest) -> "Iterator[Provider]":
    """Give a running emulator on a thread of its own, with a fresh pair of keys."""
    # Imported when asked for: most tests of a program that has this plugin need none of it.
    from . import emulator  # noqa: PLC0415

    wanted = _wanted(request)
    with emulator.run_in_thread(
        faults=wanted.get("faults", emulator.FaultScript()),
        rules=wanted.get("rules", emulator.Rules()),
    ) as provider:
        yield provider


@pytest.fixture
def smartglocal_api(
    request: pytest.FixtureRequest, smartglocal_emulator: "Provider"
) -> "Iterator[SmartGlocal]":
    """Give a client of the emulator, closed after the test."""
    from .client import SmartGlocal  # noqa: PLC0415

    key = smartglocal_emulator.private_key
    assert key is not None  # noqa: S101 - the emulator made the pair
    client = SmartGlocal(
        smartglocal_emulator.project,
        key,
        smartglocal_emulator.url,
        settings=_wanted(request).get("settings"),
    )
    yield client
    # Its connections end with the test's own loop; this ends the threads that sign.
    asyncio.run(client.close())


def _wanted(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("smartglocal")
    return dict(marker.kwargs) if marker is not None else {}
