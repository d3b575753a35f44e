"""``call``: any call of the API, those too that have no command here."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from ..client import SmartGlocal
from ..codec import NotDecodable, codec
from ..operations import Repeat, free_operation
from ..values.answers import Session
from .answers import show_fields, show_session
from .calling import Said, ask, told
from .options import AsJson, Deadline, Fields, File, JsonFields


def call(  # noqa: PLR0913 - what a row of the table would say
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="What follows api/v1/, such as session/chargeback."),
    ],
    *,
    is_harmless: Annotated[
        bool,
        typer.Option(
            "--harmless",
            help="A second call would move no money: repeat it where its answer is lost.",
        ),
    ] = False,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key; sent as a header alone.")
    ] = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Make any call of the API, with a body that goes out as it is.

    Without --harmless it is taken for one that moves money, and never sent twice.
    """
    with told(as_json=as_json) as errand:
        draft = Said(file=file, fields=fields, json_fields=json_fields).draft()
        repeat = Repeat.HARMLESS if is_harmless else Repeat.MOVES_MONEY
        with draft.blamed():
            errand.prepare(free_operation(path, None, None, repeat), draft, key)

        async def made(api: SmartGlocal) -> dict[str, Any]:
            sent, key = draft.wire, errand.key
            return dict(await api.call(path, sent, repeat=repeat, key=key, deadline=deadline))

        errand.give(ask(errand, made, draft), show_any)


def show_any(answer: Mapping[str, Any]) -> None:
    """Show the session in it, if it is one, and what stands beside it."""
    others = dict(answer)
    with suppress(NotDecodable):
        session = codec("v1").structure(answer.get("session"), Session)
        show_session(session)
        del others["session"]
        if not others:
            return
    show_fields(others)
