"""The group ``token``: public tokens for widgets, and what stands behind a token."""

from typing import Annotated

import typer

from ..operations import TOKEN, TOKEN_INFO
from .answers import show_public_token, show_token_info
from .calling import Said, fields_of, perform, told
from .grammar import Command
from .options import AsJson, CardToken, Deadline, Fields, File, JsonFields, RecurrentToken
from .shorthand import described_token

app = typer.Typer(
    no_args_is_help=True,
    help="Get tokens for widgets, and look tokens up. API v1 only, as SMARTGLOCAL_* say.",
)


@app.command(cls=Command, epilog=fields_of(TOKEN))
def issue(  # noqa: PLR0913 - one option per field
    *,
    tokenize: Annotated[
        bool, typer.Option("--tokenize", help="For the widget that turns a card into a token.")
    ] = False,
    acquiring: Annotated[
        str | None,
        typer.Option(metavar="SESSION_ID", help="For the widget that takes a payment."),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="SESSION_ID",
            help="For transfers between individuals; needs SMARTGLOCAL_SUBMERCHANT.",
        ),
    ] = None,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Get the public token of one widget: 24 hours, one operation."""
    with told(as_json=as_json) as errand:
        own = {
            "tokenize_widget.access": ("--tokenize", True if tokenize else None),
            "acquiring_widget.session_id": ("--acquiring", acquiring),
            "fps_no_account_widget.session_id": ("--fps", fps),
        }
        said = Said(file=file, fields=fields, json_fields=json_fields, own=own)
        token = perform(
            errand, TOKEN, said, lambda api, request, _: api.token.issue(request, deadline=deadline)
        )
        errand.give(token, show_public_token)


@app.command(cls=Command, epilog=fields_of(TOKEN_INFO))
def info(  # noqa: PLR0913 - one option per field
    *,
    card_token: CardToken = None,
    public_token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The token of a widget.")
    ] = None,
    recurrent_token: RecurrentToken = None,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Say what stands behind a token."""
    with told(as_json=as_json) as errand:
        own = described_token(card_token, public_token, recurrent_token)
        said = Said(file=file, fields=fields, json_fields=json_fields, own=own)
        found = perform(
            errand,
            TOKEN_INFO,
            said,
            lambda api, request, _: api.token.info(request, deadline=deadline),
        )
        errand.give(found, show_token_info)
