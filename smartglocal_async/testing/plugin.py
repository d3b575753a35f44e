"""The pytest plugin: an emulated provider, and what a program needs to be tested against it.

pytest loads it if the package is installed. All fixtures are synchronous, so they work with
pytest-asyncio, with anyio (on asyncio), and with neither. The emulator and the client live as long
as the option ``smartglocal_scope`` says, ``function`` by default; the keys are made once per run.

A test sets faults, rules and settings with
``@pytest.mark.smartglocal(faults=..., rules=..., settings=...)``.
"""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from attrs import evolve

if TYPE_CHECKING:
    from ..client import SmartGlocal
    from ..emulator import Provider, RequestRecord
    from ..journal import Journal
    from ..keys import PrivateKey
    from ..payouts import Payouts
    from ..webhooks import WebhookVerifier
    from .clock import Clock
    from .deliveries import DeliverWebhook
    from .emulator_admin import EmulatorAdmin

_Scope = Literal["session", "package", "module", "class", "function"]
_SCOPES: Final[tuple[_Scope, ...]] = ("function", "class", "module", "package", "session")
_SCOPE_OPTION: Final = "smartglocal_scope"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option for the configuration file."""
    parser.addini(
        _SCOPE_OPTION,
        f"how long the emulator and its client live: {', '.join(_SCOPES)}",
        default="function",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin's marker."""
    config.addinivalue_line(
        "markers",
        "smartglocal(faults=, rules=, settings=): what the emulator does wrong, "
        "how it reads the documents, and the client's Settings",
    )


def _scope(fixture_name: str, config: pytest.Config) -> _Scope:  # noqa: ARG001 - pytest's names
    wanted = config.getini(_SCOPE_OPTION)
    for scope in _SCOPES:
        if scope == wanted:
            return scope
    raise pytest.UsageError(f"{_SCOPE_OPTION} is {wanted!r}; take one of {', '.join(_SCOPES)}")


# Names are imported when used, as most tests of a program with this plugin don't use them.


@pytest.fixture(scope="session")
def smartglocal_private_key() -> "PrivateKey":
    """The partner's key, which signs the calls of all tests of the run."""
    from ..keys import PrivateKey  # noqa: PLC0415

    return PrivateKey.generate()


@pytest.fixture(scope="session")
def smartglocal_webhook_key() -> "PrivateKey":
    """The provider's key, which signs the webhooks of all tests of the run."""
    from ..keys import PrivateKey  # noqa: PLC0415

    return PrivateKey.generate()


@pytest.fixture(scope=_scope)
def _smartglocal_time() -> "Clock":
    """The clock of the emulator and the client, which runs unless a test holds it."""
    from .clock import Clock  # noqa: PLC0415

    return Clock()


@pytest.fixture(scope=_scope)
def _smartglocal_log() -> "list[RequestRecord]":
    """The list that the emulator adds its requests to."""
    return []


@pytest.fixture(scope=_scope)
def smartglocal_emulator(
    request: pytest.FixtureRequest,
    smartglocal_private_key: "PrivateKey",
    smartglocal_webhook_key: "PrivateKey",
    _smartglocal_time: "Clock",
    _smartglocal_log: "list[RequestRecord]",
) -> "Iterator[Provider]":
    """A running emulator, on a thread of its own."""
    from .. import emulator  # noqa: PLC0415

    options = _options(request)
    with emulator.run_in_thread(
        public_key=smartglocal_private_key,
        webhook_key=smartglocal_webhook_key,
        faults=options.get("faults", emulator.FaultScript()),
        rules=options.get("rules", emulator.Rules()),
        clock=_smartglocal_time.now,
        on_request=_smartglocal_log.append,
        keeps_history=True,
    ) as provider:
        _smartglocal_time.on_advance(provider.tick)
        yield provider


@pytest.fixture(scope=_scope)
def smartglocal_admin(smartglocal_emulator: "Provider") -> "EmulatorAdmin":
    """A client of the emulator's admin API."""
    from .emulator_admin import EmulatorAdmin  # noqa: PLC0415

    return EmulatorAdmin(smartglocal_emulator.url)


@pytest.fixture(scope=_scope)
def smartglocal_api(
    request: pytest.FixtureRequest,
    smartglocal_emulator: "Provider",
    smartglocal_private_key: "PrivateKey",
    _smartglocal_time: "Clock",
) -> "Iterator[SmartGlocal]":
    """A client of the emulator, closed at the end."""
    from ..client import SmartGlocal  # noqa: PLC0415
    from ..retry import Timing  # noqa: PLC0415
    from ..settings import Settings  # noqa: PLC0415

    settings: Settings = _options(request).get("settings") or Settings()
    if settings.timing == Timing():
        settings = evolve(settings, timing=_smartglocal_time.timing())
    client = SmartGlocal(
        smartglocal_emulator.project,
        smartglocal_private_key,
        smartglocal_emulator.url,
        settings=settings,
    )
    yield client
    # Its connections end with the test's event loop; this ends the signing threads.
    asyncio.run(client.close())


@pytest.fixture
def smartglocal_clock(_smartglocal_time: "Clock") -> "Iterator[Clock]":
    """The clock of the emulator and the client, held until the test ends: the test sets it."""
    with _smartglocal_time.held():
        yield _smartglocal_time


@pytest.fixture
def smartglocal_requests(
    smartglocal_emulator: "Provider",  # noqa: ARG001 - it adds the requests
    _smartglocal_log: "list[RequestRecord]",
) -> "list[RequestRecord]":
    """The requests that the emulator has received since the test began, oldest first."""
    _smartglocal_log.clear()
    return _smartglocal_log


@pytest.fixture
def smartglocal_journal(tmp_path: Path) -> "Journal":
    """A new journal of payouts, in a file; override it for another kind of journal."""
    from ..journal import SQLiteJournal  # noqa: PLC0415

    return SQLiteJournal(tmp_path / "payouts.journal")


@pytest.fixture
def smartglocal_payouts(
    smartglocal_api: "SmartGlocal", smartglocal_journal: "Journal"
) -> "Payouts":
    """Payouts over the client and the journal; open them with ``async with``."""
    from ..payouts import Payouts  # noqa: PLC0415

    return Payouts(smartglocal_api, smartglocal_journal)


@pytest.fixture
def smartglocal_verifier(smartglocal_webhook_key: "PrivateKey") -> "WebhookVerifier":
    """A verifier of the webhooks of `smartglocal_deliver` and of the emulator."""
    from ..webhooks import WebhookVerifier  # noqa: PLC0415

    return WebhookVerifier(smartglocal_webhook_key.public)


@pytest.fixture
def smartglocal_deliver(smartglocal_webhook_key: "PrivateKey") -> "DeliverWebhook":
    """Signs an event as the provider does, and delivers it: ``await deliver(event, to=...)``."""
    from .deliveries import DeliverWebhook  # noqa: PLC0415

    return DeliverWebhook(smartglocal_webhook_key)


@pytest.fixture
def smartglocal_environment(
    smartglocal_emulator: "Provider",
    smartglocal_private_key: "PrivateKey",
    smartglocal_webhook_key: "PrivateKey",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Mapping[str, str]:
    """The variables that ``from_env`` reads, set for the emulator until the test ends."""
    private, public = tmp_path / "partner.pem", tmp_path / "provider.pem"
    _ = private.write_bytes(smartglocal_private_key.pem())
    _ = public.write_bytes(smartglocal_webhook_key.public.pem())
    variables = {
        "SMARTGLOCAL_PROJECT": smartglocal_emulator.project,
        "SMARTGLOCAL_PRIVATE_KEY": str(private),
        "SMARTGLOCAL_SERVER": smartglocal_emulator.url,
        "SMARTGLOCAL_WEBHOOK_KEY": str(public),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker("smartglocal")
    return dict(marker.kwargs) if marker is not None else {}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a marker that has no effect, as the emulator lives longer than what is marked."""
    scope = item.config.getini(_SCOPE_OPTION)
    marks = item.iter_markers() if scope in {"package", "session"} else item.own_markers
    if scope != "function" and any(mark.name == "smartglocal" for mark in marks):
        raise pytest.UsageError(
            f"the marker smartglocal has no effect here with {_SCOPE_OPTION} = {scope}: use "
            "`with smartglocal_emulator.inject(...)`, or a fixture of your own"
        )
