"""The pytest plugin: an emulated provider, and what a program needs to be tested against it.

pytest loads it if the package is installed. All fixtures are synchronous, so they work with
pytest-asyncio, with anyio (on asyncio), and with neither. The emulator lives as long as the option
``smartglocal_scope`` says, ``function`` by default; if tests share it, it starts over before each
test. Each test has a client of its own; the keys are made once per run.

A test sets faults, rules and settings with
``@pytest.mark.smartglocal(faults=..., rules=..., settings=...)``. All options of the emulator, and
the settings of all clients, are those of the fixtures ``smartglocal_emulator_options`` and
``smartglocal_settings``, which a program overrides.
"""

import asyncio
import inspect
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import pytest
from attrs import define, evolve, field

if TYPE_CHECKING:
    from ..client import SmartGlocal
    from ..emulator import FaultScript, Provider, RequestRecord
    from ..journal import Journal
    from ..keys import PrivateKey
    from ..payouts import Payouts
    from ..settings import Settings
    from ..webhooks import WebhookVerifier
    from .clock import Clock
    from .deliveries import DeliverWebhook
    from .emulator_admin import EmulatorAdmin

_Scope = Literal["session", "package", "module", "class", "function"]
_SCOPES: Final[tuple[_Scope, ...]] = ("function", "class", "module", "package", "session")
_SCOPE_OPTION: Final = "smartglocal_scope"
_MARKER: Final = "@pytest.mark.smartglocal"
_MARKED: Final = ("faults", "rules", "settings")
_OPTIONS: Final = "smartglocal_emulator_options"
_CONNECTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "public_key": "override smartglocal_private_key",
        "webhook_key": "override smartglocal_webhook_key",
        "clock": "use smartglocal_clock",
        "on_request": "use smartglocal_requests",
        "keeps_history": "it always does",
    }
)
"""Options of the emulator that connect it with other fixtures, and what a test does instead."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's option for the configuration file."""
    parser.addini(
        _SCOPE_OPTION,
        f"how long the emulator lives: {', '.join(_SCOPES)}",
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


def _new_clock() -> "Clock":
    from .clock import Clock  # noqa: PLC0415

    return Clock()


@define(eq=False)
class _EmulatorContext:
    """What connects the emulator with other fixtures: its clock, and the log of its requests."""

    clock: "Clock" = field(factory=_new_clock, init=False)
    """It runs, unless a test holds it."""
    requests: "list[RequestRecord]" = field(factory=list["RequestRecord"], init=False)
    provider: "Provider | None" = field(default=None, init=False)

    def now(self) -> datetime:
        """Return the time of the clock that the test has."""
        return self.clock.now()

    def record(self, request: "RequestRecord") -> None:
        """Add a request to the log of the test."""
        self.requests.append(request)

    def connect(self, provider: "Provider") -> None:
        """Have an emulator do what is due whenever the clock is moved."""
        self.provider = provider
        self.clock.on_advance(provider.tick)

    def start_over(self) -> None:
        """Begin with a new clock, and an emulator at which nothing has happened."""
        self.clock = _new_clock()
        if self.provider is not None:
            self.connect(self.provider)
            self.provider.start_over()


_LIVE: Final = pytest.StashKey[list[_EmulatorContext]]()


@pytest.fixture(scope=_scope)
def _smartglocal_context(request: pytest.FixtureRequest) -> Iterator[_EmulatorContext]:
    """What connects the emulator with other fixtures."""
    context, live = _EmulatorContext(), request.config.stash.setdefault(_LIVE, [])
    live.append(context)
    yield context
    live.remove(context)


@pytest.fixture
def smartglocal_reset(request: pytest.FixtureRequest) -> None:
    """Has an emulator that tests share start over before each; override it to keep all.

    Sessions, money and counts are forgotten; faults, rules, the address of webhooks and the clock
    are as at the start.
    """
    for context in _outliving(request):
        context.start_over()


@pytest.fixture(autouse=True)
def _smartglocal_new_log(
    request: pytest.FixtureRequest,
    smartglocal_reset: None,  # noqa: ARG001 - it comes first, in each test
) -> None:
    """Has the log of requests begin with the test."""
    for context in _outliving(request):
        context.requests = []


def _outliving(request: pytest.FixtureRequest) -> list[_EmulatorContext]:
    """Return those that tests share; an emulator of this test alone is new anyway."""
    if request.config.getini(_SCOPE_OPTION) == "function":
        return []
    return request.config.stash.get(_LIVE, list[_EmulatorContext]())


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


@pytest.fixture(scope="session")
def smartglocal_emulator_options() -> Mapping[str, Any]:
    """The emulator's options, by their names in `emulator.run`; override it to change them.

    ``faults`` may also be a fault or a list of them. A marker's faults and rules replace these.
    """
    return {}


@pytest.fixture(scope="session")
def smartglocal_settings() -> "Settings":
    """The client's settings, unless a marker has others; override it to change them."""
    from ..settings import Settings  # noqa: PLC0415

    return Settings()


@pytest.fixture(scope=_scope)
def smartglocal_emulator(
    request: pytest.FixtureRequest,
    smartglocal_private_key: "PrivateKey",
    smartglocal_webhook_key: "PrivateKey",
    smartglocal_emulator_options: Mapping[str, Any],
    _smartglocal_context: _EmulatorContext,
) -> "Iterator[Provider]":
    """A running emulator, on a thread of its own.

    To change how it runs, override `smartglocal_emulator_options`: an emulator of your own isn't
    connected with `smartglocal_clock` and `smartglocal_requests`, which then refuse the test.
    """
    from .. import emulator  # noqa: PLC0415

    marked = _marked(request.node)
    options = _checked_options(smartglocal_emulator_options)
    options |= {name: marked[name] for name in marked if name != "settings"}
    with emulator.run_in_thread(
        public_key=smartglocal_private_key,
        webhook_key=smartglocal_webhook_key,
        clock=_smartglocal_context.now,
        on_request=_smartglocal_context.record,
        keeps_history=True,
        **options,
    ) as provider:
        _smartglocal_context.connect(provider)
        yield provider


@pytest.fixture(scope=_scope)
def smartglocal_admin(smartglocal_emulator: "Provider") -> "EmulatorAdmin":
    """A client of the emulator's admin API."""
    from .emulator_admin import EmulatorAdmin  # noqa: PLC0415

    return EmulatorAdmin(smartglocal_emulator.url)


@pytest.fixture
def smartglocal_api(
    request: pytest.FixtureRequest,
    smartglocal_emulator: "Provider",
    smartglocal_private_key: "PrivateKey",
    smartglocal_settings: "Settings",
    _smartglocal_context: _EmulatorContext,
) -> "Iterator[SmartGlocal]":
    """A client of the emulator, closed at the end of the test."""
    from ..client import SmartGlocal  # noqa: PLC0415
    from ..retry import Timing  # noqa: PLC0415

    settings: Settings = _marked(request.node).get("settings", smartglocal_settings)
    if settings.timing == Timing():
        settings = evolve(settings, timing=_smartglocal_context.clock.timing())
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
def smartglocal_clock(_smartglocal_context: _EmulatorContext) -> "Iterator[Clock]":
    """The clock of the emulator and the client, held until the test ends: the test sets it."""
    with _smartglocal_context.clock.held() as clock:
        yield clock


@pytest.fixture
def smartglocal_requests(
    smartglocal_emulator: "Provider",  # noqa: ARG001 - it adds the requests
    _smartglocal_context: _EmulatorContext,
) -> "list[RequestRecord]":
    """The requests that the emulator has received since the test began, oldest first.

    Those of its fixtures are among them.
    """
    return _smartglocal_context.requests


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse a marker that is wrong or has no effect, and fixtures that aren't connected."""
    _check_markers(item)
    result = yield
    _check_connections(getattr(item, "funcargs", {}))
    return result


def _check_markers(item: pytest.Item) -> None:
    if item.get_closest_marker("smartglocal") is None:
        return
    _ = _marked(item)
    scope = item.config.getini(_SCOPE_OPTION)
    for node, mark in item.iter_markers_with_node("smartglocal"):
        if mark.kwargs.keys() - {"settings"} and _outlives(scope, node):
            raise pytest.UsageError(
                f"{_MARKER} has no effect here with {_SCOPE_OPTION} = {scope}, except for "
                "settings=: use `with smartglocal_emulator.inject(...)`, or override the fixture "
                f"{_OPTIONS}"
            )


def _outlives(scope: str, node: object) -> bool:
    """Whether an emulator of this scope lives longer than a node, and can't have its marks."""
    if scope == "class":  # Outside of a class such a fixture belongs to the function.
        return isinstance(node, pytest.Item) and node.getparent(pytest.Class) is not None
    if scope == "module":
        return isinstance(node, pytest.Item | pytest.Class)
    return scope in {"package", "session"}


def _marked(node: Any) -> dict[str, Any]:  # noqa: ANN401 - pytest doesn't type `request.node`
    """Return the checked arguments of a node's markers; for each name, those of the closest."""
    marked: dict[str, Any] = {}
    for mark in reversed([*node.iter_markers("smartglocal")]):
        if mark.args:
            raise pytest.UsageError(f"{_MARKER}: name the arguments: {'=, '.join(_MARKED)}=")
        marked |= _checked(mark.kwargs, _MARKED, _MARKER)
    return marked


def _checked_options(options: object) -> dict[str, Any]:
    """Return the options of the fixture as arguments of `emulator.run_in_thread`."""
    from ..emulator import run_in_thread  # noqa: PLC0415

    if not isinstance(options, Mapping):
        raise pytest.UsageError(f"{_OPTIONS} must return a dict, not {_kind_of(options)}")
    named = cast("Mapping[str, Any]", options)
    for name in named:
        if name in _CONNECTED:
            raise pytest.UsageError(f"{_OPTIONS}: {name} is the plugin's own: {_CONNECTED[name]}")
    known = inspect.signature(run_in_thread).parameters.keys() - _CONNECTED.keys()
    return _checked(named, sorted(known), _OPTIONS)


def _checked(options: Mapping[str, Any], known: Iterable[str], where: str) -> dict[str, Any]:
    """Return options whose names are known and whose records have the right types."""
    from ..emulator import Rules, WebhookScript  # noqa: PLC0415
    from ..emulator.toml_tables import check_keys  # noqa: PLC0415
    from ..errors import InvalidRequest  # noqa: PLC0415
    from ..settings import Settings  # noqa: PLC0415

    try:
        check_keys(options, known)
    except InvalidRequest as error:
        raise pytest.UsageError(f"{where}: {error.field}: {error.problem}") from None
    checked = dict(options)
    for name, record in (("rules", Rules), ("webhooks", WebhookScript), ("settings", Settings)):
        if name in checked and not isinstance(checked[name], record):
            problem = f"must be {record.__name__}(...), not {_kind_of(checked[name])}"
            raise pytest.UsageError(f"{where}: {name} {problem}")
    if "faults" in checked:
        checked["faults"] = _script(checked["faults"], where)
    return checked


def _script(faults: object, where: str) -> "FaultScript":
    """Return the script of a fault, of a list of them, or as it is."""
    from ..emulator import Fault, FaultScript  # noqa: PLC0415

    if isinstance(faults, FaultScript):
        return faults
    is_list = isinstance(faults, list | tuple)
    every = [*cast("Iterable[object]", faults)] if is_list else [faults]
    for fault in every:
        if not isinstance(fault, Fault):
            raise pytest.UsageError(
                f"{where}: faults must be a Fault(...), a list of them or a FaultScript(...), "
                f"not {'with ' if is_list else ''}{_kind_of(fault)}"
            )
    return FaultScript(cast("list[Fault]", every))


def _kind_of(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _check_connections(used: Mapping[str, Any]) -> None:
    """Refuse fixtures that would fail silently with an emulator that isn't the plugin's."""
    provider, context = used.get("smartglocal_emulator"), used.get("_smartglocal_context")
    if provider is None or (context is not None and provider is context.provider):
        return
    apart: list[str] = []
    if context is not None and used.get("smartglocal_requests") is context.requests:
        apart.append("smartglocal_requests")
    if context is not None and used.get("smartglocal_clock") is context.clock:
        apart.append("smartglocal_clock")
    verifying = used.keys() & {"smartglocal_verifier", "smartglocal_environment"}
    key = used.get("smartglocal_webhook_key")
    if verifying and key is not None and key.public.pem() != provider.webhook_key.pem():
        apart += sorted(verifying)
    if apart:
        raise pytest.UsageError(
            f"{' and '.join(apart)} can't be used with this smartglocal_emulator, which isn't the "
            f"plugin's: override the fixture {_OPTIONS} instead, which returns its options"
        )
