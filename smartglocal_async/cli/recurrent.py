"""The group ``recurrent``: tokens of recurring payments."""

from typing import Annotated

import typer

from ..operations import RECURRENT_DISABLE
from .answers import show_recurrent
from .calling import Said, fields_of, perform, told
from .grammar import Command
from .options import AsJson, Deadline, Fields, File, JsonFields

app = typer.Typer(
    no_args_is_help=True, help="End recurring payments. API v1 only, as SMARTGLOCAL_* say."
)


@app.command(cls=Command, epilog=fields_of(RECURRENT_DISABLE))
def disable(  # noqa: PLR0913 - one option per field
    token: Annotated[
        str | None, typer.Argument(metavar="TOKEN", help="May stand in --file instead.")
    ] = None,
    *,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """End a recurring payment; ending it again changes nothing."""
    with told(as_json=as_json) as errand:
        own = {"recurrent.token": ("TOKEN", token)}
        said = Said(file=file, fields=fields, json_fields=json_fields, own=own)
        ended = perform(
            errand,
            RECURRENT_DISABLE,
            said,
            lambda api, request, _: api.recurrent.disable(request, deadline=deadline),
        )
        errand.give(ended, show_recurrent)


@app.callback()
def recurrent() -> None:
    """Keep the group a group: Typer would make one command of one."""
