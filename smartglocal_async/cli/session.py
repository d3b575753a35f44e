"""``session create`` and ``session status``: one call with the environment's credentials."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, cast

import typer

from ..client import SmartGlocal
from ..codec import codec
from ..errors import InvalidRequest
from ..settings import Settings
from ..values.answers import Session
from ..values.money import AmountDetails
from ..values.requests import CreateSession, SessionRef
from .failures import explained
from .grammar import Command
from .naming import named
from .screen import AsJson, cell, console, show, table, write_json

_KEY_FIELD: Final = Settings().key_field
_OPTIONS: Final[Mapping[str, str]] = {
    "AmountDetails": "--amount",
    "AmountDetails.of": "--amount",
    "AmountDetails.amount": "--amount",
    "AmountDetails.currency": "--currency",
    "CreateSession.metadata": "--json-metadata",
    "metadata": "--json-metadata",
    "key": "--key",
    "deadline": "--deadline",
    "SessionRef.session_id": "SESSION_ID",
}
_TEXT_OPTIONS: Final = {"CreateSession.metadata": "--metadata", "metadata": "--metadata"}

app = typer.Typer(
    no_args_is_help=True,
    help="Make one call, as SMARTGLOCAL_* say.",
)
Deadline = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="For the whole call, attempts and waits included."),
]


@app.command(cls=Command)
def create(  # noqa: PLR0913 - one option per field
    *,
    amount: Annotated[
        str | None, typer.Option(help="In major units, such as 100.00; needs --currency.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code, such as usd.")] = None,
    metadata: Annotated[
        str | None, typer.Option(help="Text that answers echo; goes without --key.")
    ] = None,
    json_metadata: Annotated[str | None, typer.Option(help="The same, any JSON.")] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Idempotency key: your order id. It travels in the metadata, which must be an "
            "object (--json-metadata) or absent; give the same one when you repeat the call."
        ),
    ] = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Create a payment session; nothing moves yet."""
    options = _OPTIONS if metadata is None else {**_OPTIONS, **_TEXT_OPTIONS}
    with explained(as_json=as_json), named(options):
        said = _metadata(metadata, json_metadata)
        if key is not None and said is not None:
            _check_room(key, said, is_text=metadata is not None)
        request = CreateSession(amount_details=_amount(amount, currency), metadata=said)
        session = _ask(lambda api: api.session.create(request, key=key, deadline=deadline))
        _show(session, as_json=as_json)


@app.command(cls=Command)
def status(
    session_id: Annotated[str, typer.Argument(help="Such as ps_3230.")],
    *,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a session as it stands now."""
    with explained(as_json=as_json), named(_OPTIONS):
        request = SessionRef(session_id)
        session = _ask(lambda api: api.session.status(request, deadline=deadline))
        _show(session, as_json=as_json)


def _ask(call: Callable[[SmartGlocal], Awaitable[Session]]) -> Session:
    async def ask() -> Session:
        async with SmartGlocal.from_env() as api:
            return await call(api)

    return asyncio.run(ask())


def _amount(major: str | None, currency: str | None) -> AmountDetails | None:
    if major is None and currency is None:
        return None
    if major is None or currency is None:
        raise InvalidRequest("--amount", "--amount and --currency go together")
    return AmountDetails.of(major, currency)


def _metadata(text: str | None, as_json: str | None) -> Any:  # noqa: ANN401 - any JSON
    if as_json is None:
        return text
    if text is not None:
        raise InvalidRequest("--json-metadata", "give it or --metadata, not both")
    try:
        return json.loads(as_json)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("--json-metadata", f"isn't JSON: {error}") from None


def _check_room(key: str, metadata: object, *, is_text: bool) -> None:
    """Refuse a key that has no place to travel in: a repeat would make a second session."""
    example = '--json-metadata \'{"order": "..."}\''
    if is_text:
        raise InvalidRequest("--key", f"can't travel in the text of --metadata; write {example}")
    if not isinstance(metadata, dict):
        raise InvalidRequest("--key", f"travels in an object only; write {example}")
    if cast("dict[str, object]", metadata).get(_KEY_FIELD, key) != key:
        raise InvalidRequest("--key", f"--json-metadata has another {_KEY_FIELD}; give one key")


def _show(session: Session, *, as_json: bool) -> None:
    # Answers are called the same in every version of the API that is known.
    wire = codec("v1").wire(session)
    if as_json:
        write_json(wire)
        return
    shown = table()
    shown.show_header = False
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in wire.items():
        shown.add_row(cell(name), cell(value if isinstance(value, str) else json.dumps(value)))
    show(console(), shown)
