"""What ``emulator`` serves: its options, which override the keys of a TOML file."""

import enum
import json
import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import attrs
from attrs import evolve, field, frozen

from .. import emulator as library
from ..emulator.bank.messages import OPERATIONS
from ..emulator.bank.validation import is_object
from ..emulator.server.addresses import check_webhook_url
from ..emulator.toml_tables import check_keys, parse_toml, value_of, values_of
from ..errors import InvalidRequest
from ..models.money import AmountDetails
from .app import EmulatorOptions
from .errors import named
from .options import amounts

_MAX_PORT: Final = 65_535
_EMPTY: Final = re.compile(r"0+(?:\.0+)? ?[A-Za-z]{3}")


@frozen(kw_only=True)
class EmulatorPlan:
    """What to serve, and which files to write.

    Raises:
        InvalidRequest: a value can't be used; names the field.

    """

    host: str = "127.0.0.1"
    port: int = 8080
    project: str = "demo"
    public_key: Path | None = None
    """The file of the client's public key; None: the emulator generates the client's pair."""
    keys: Path | None = None
    """The folder in which keys are kept; None: they are deleted at the end."""
    env_file: Path | None = None
    overwrite: bool = False
    webhook_url: str | None = None
    seed: int | None = None
    faults: library.FaultScript = field(factory=library.FaultScript)
    rules: library.Rules = field(factory=library.Rules)
    webhooks: library.WebhookScript = field(factory=library.WebhookScript)
    config: Path | None = None
    """The file that the keys in `from_file` are from; the others are options."""
    from_file: frozenset[str] = frozenset()

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.port <= _MAX_PORT:
            raise InvalidRequest("port", f"must be from 0 to {_MAX_PORT}")
        if not (self.project and self.project.isascii() and self.project.isprintable()):
            raise InvalidRequest("project", "must be printable ASCII text, as in an HTTP header")
        if self.webhook_url is not None:
            check_webhook_url(self.webhook_url, "webhook_url")

    def name(self, key: str) -> str:
        """Return the option of a field, or its file and key, for a message."""
        return f"--config: {self.config}: {key}" if key in self.from_file else _option(key)


_FAULT_KEYS: Final = ("faults", "fault", "fault_rate")
_SERVER_KEYS: Final = (
    *("host", "port", "project", "public_key", "keys", "env_file", "overwrite", "webhook_url"),
    "seed",
)
_RULES: Final = tuple(one.name for one in attrs.fields(library.Rules))
KEYS: Final = (*_SERVER_KEYS, *_RULES, *_FAULT_KEYS, "webhooks")
"""The keys of a file."""
_OF_RULES: Final[Mapping[str, str]] = {
    "duplicates": "duplicates",
    "error_status": "error_http_status",
    "confirm": "confirmation",
    "second_start": "second_start",
    "idempotency_header": "idempotency_header",
    "capture": "capture",
    "processing_seconds": "processing_seconds",
    "latency": "latency_seconds",
    "webhook_version": "webhook_version",
    "balance": "wallets",
}
"""The rule of each option that sets one."""


@frozen
class ConfigFile:
    """A file with keys for the emulator; paths in it are relative to its folder."""

    path: Path | None = None
    server: Mapping[str, Any] = field(factory=dict[str, Any])
    rules: Mapping[str, Any] = field(factory=dict[str, Any])
    faults: Mapping[str, Any] = field(factory=dict[str, Any])
    webhooks: Mapping[str, Any] = field(factory=dict[str, Any])

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            InvalidRequest: a key or a value can't be used; names the file and the key.
            OSError: the file can't be read.

        """
        option = f"--config: {path}"
        try:
            table = parse_toml(path.read_text("utf-8"), option)
        except UnicodeDecodeError:
            raise InvalidRequest(option, "isn't UTF-8 text") from None
        with cls(path).named():
            check_keys(table, KEYS)
            server = values_of(EmulatorPlan, _part(table, _SERVER_KEYS))
            rules = values_of(library.Rules, _part(table, _RULES))
            with _under("http_methods"):
                check_keys(rules.get("http_methods", ()), OPERATIONS)
            faults = _part(table, _FAULT_KEYS)
            if len(faults) > 1:
                raise InvalidRequest(list(faults)[1], f"use only one of {', '.join(faults)}")
            webhooks = _webhooks(table.get("webhooks", {}))
        for name, value in server.items():
            if isinstance(value, Path):
                server[name] = path.parent / value
        return cls(path, server, rules, faults, webhooks)

    @contextmanager
    def named(self, options: Mapping[str, str] | None = None) -> Generator[None, None, None]:
        """Name the option that an error is about, or else the file and the key in it."""
        try:
            yield
        except InvalidRequest as error:
            root = error.field.partition(".")[0]
            if options is not None and root in options:
                raise InvalidRequest(options[root], error.problem) from None
            raise InvalidRequest(f"--config: {self.path}: {error.field}", error.problem) from None

    def script(self, seed: int | None) -> library.FaultScript:
        """Return the faults that the file asks for."""
        if "faults" in self.faults and self.path is not None:
            script = self.path.parent / value_of(Path, "faults", self.faults["faults"])
            return _read_script(script, "faults", seed)
        if "fault" in self.faults:
            return library.FaultScript.from_entries(self.faults["fault"], seed or 0)
        rate = value_of(float, "fault_rate", self.faults.get("fault_rate", 0.0))
        with _under("fault_rate", whole=True):
            return library.FaultScript.drops(rate, seed or 0)


def read_plan(options: EmulatorOptions) -> EmulatorPlan:
    """Return what to serve.

    Raises:
        InvalidRequest: an option or a key of the file can't be used; names it.
        OSError: a file can't be read.

    """
    config = ConfigFile() if options.config is None else ConfigFile.read(options.config)
    given = {name: value for name in _SERVER_KEYS if (value := getattr(options, name)) is not None}
    seed: int | None = given.get("seed", config.server.get("seed"))
    options_of_rules = {rule: _option(name) for name, rule in _OF_RULES.items()}
    with named(options_of_rules):
        rules = _rules_of(options)
    wallets = {**config.rules.get("wallets", {}), **rules.get("wallets", {})}
    # A journal that has sessions of an earlier run must not get the same ids again.
    id_mark = "" if seed is not None else f"{secrets.token_hex(3)}_"
    values: dict[str, Any] = {"id_mark": id_mark, **config.rules, **rules, "wallets": wallets}
    # The amounts of --balance were checked, so that a wrong one is the file's.
    option_of = {
        name: option
        for name, option in options_of_rules.items()
        if name in rules and (name != "wallets" or "wallets" not in config.rules)
    } | {name: _option(name) for name in given}
    faults = _script_of(options, seed)
    with config.named(option_of):
        with _under("webhooks"):
            script: dict[str, Any] = {"seed": seed or 0, **config.webhooks}
            webhooks = library.WebhookScript(**script)
        return EmulatorPlan(
            **{**config.server, **given},
            rules=library.Rules(**values),
            webhooks=webhooks,
            faults=config.script(seed) if faults is None else faults,
            config=config.path,
            from_file=frozenset(config.server.keys() - given.keys()),
        )


def _script_of(options: EmulatorOptions, seed: int | None) -> library.FaultScript | None:
    if options.faults is None and not options.fault and options.fault_rate is None:
        return None
    return fault_script(options.faults, options.fault or (), options.fault_rate, seed)


def fault_script(
    file: Path | None, shares: Sequence[str], rate: float | None, seed: int | None
) -> library.FaultScript:
    """Return the faults that one of ``--faults``, ``--fault`` and ``--fault-rate`` asks for.

    Raises:
        InvalidRequest: two of them are given, or one is invalid.

    """
    if (file is not None) + bool(shares) + (rate is not None) > 1:
        name = "--faults" if file is not None else "--fault"
        raise InvalidRequest(name, "use only one of --faults, --fault and --fault-rate")
    if shares:
        return library.FaultScript.each(_shares(shares), seed or 0)
    if file is None:
        return library.FaultScript.drops(rate or 0.0, seed or 0)
    return _read_script(file, "--faults", seed)


def _read_script(file: Path, name: str, seed: int | None) -> library.FaultScript:
    try:
        script = library.FaultScript.from_toml(file.read_text("utf-8"))
    except UnicodeDecodeError:
        raise InvalidRequest(name, f"{file} isn't UTF-8 text") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {file}: {error.field}", error.problem) from None
    return script if seed is None else evolve(script, seed=seed)


def _shares(texts: Sequence[str]) -> dict[library.FaultKind, float]:
    shares: dict[library.FaultKind, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        kinds = [kind for kind in library.FaultKind if name in {kind.value, "all"}]
        if not kinds:
            known = ", ".join(library.FaultKind)
            raise InvalidRequest("--fault", f"unknown kind {name!r}; known are all, {known}")
        try:
            share = float(number)
        except ValueError:
            problem = f"expected a share from 0 to 1 after the kind, as in {name}=0.1"
            raise InvalidRequest("--fault", problem) from None
        if not 0 <= share <= 1:
            raise InvalidRequest("--fault", f"{name}: the share must be from 0 to 1")
        shares |= dict.fromkeys(kinds, share)
    return shares


def _rules_of(options: EmulatorOptions) -> dict[str, Any]:
    given = {
        rule: value
        for name, rule in _OF_RULES.items()
        if name not in {"balance", "webhook_version"}
        and (value := getattr(options, name)) is not None
    }
    rules = values_of(library.Rules, given)
    if options.webhook_version is not None:
        rules["webhook_version"] = int(options.webhook_version.removeprefix("v"))
    if options.balance is not None:
        rules["wallets"] = _balances(options.balance)
    return rules


def _balances(texts: Sequence[str]) -> dict[str, int]:
    """Return minor units by currency; a wallet may be empty, which an amount may not."""
    option = _option("balance")
    filled = amounts(option, [text for text in texts if not _EMPTY.fullmatch(text)])
    balances = {code: money.amount for code, money in filled.items()}
    for text in filter(_EMPTY.fullmatch, texts):
        try:
            code = AmountDetails(1, text[-3:]).currency
        except InvalidRequest as error:
            raise InvalidRequest(option, error.problem) from None
        if code in balances:
            raise InvalidRequest(option, f"is given twice for {code}")
        balances[code] = 0
    return balances


def _webhooks(table: object) -> dict[str, Any]:
    if not is_object(table):
        raise InvalidRequest("webhooks", "must be a table: write [webhooks] above its keys")
    with _under("webhooks"):
        return values_of(library.WebhookScript, table)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _part(table: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    return {name: table[name] for name in names if name in table}


@contextmanager
def _under(name: str, *, whole: bool = False) -> Generator[None, None, None]:
    """Name the table that an error is in, or with ``whole`` the key itself."""
    try:
        yield
    except InvalidRequest as error:
        raise (InvalidRequest(name, error.problem) if whole else error.under(name)) from None


def keys_table() -> str:
    """Return the keys of a file as a table in Markdown."""
    options = {rule: _option(name) for name, rule in _OF_RULES.items()}
    options |= {name: _option(name) for name in (*_SERVER_KEYS, *_FAULT_KEYS)}
    plan, rules = EmulatorPlan(), library.Rules()
    rows = [
        (f"`{key}`", f"`{options[key]}`" if key in options else "", _default(plan, rules, key))
        for key in KEYS
    ]
    lines = (("Key", "Option", "Default"), ("---",) * 3, *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _default(plan: EmulatorPlan, rules: library.Rules, key: str) -> str:
    value: object = getattr(rules if key in _RULES else plan, key, None)
    if isinstance(value, enum.Enum):
        value = value.value
    is_plain = isinstance(value, str | int | float) and value != ""
    return f"`{json.dumps(value)}`" if is_plain else ""
