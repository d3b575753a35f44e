"""The group ``fps``: Russia's Faster Payments System."""

from typing import Annotated

import typer

from ..operations import FPS_BANKS, FPS_VERIFY_CUSTOMER
from .answers import show_banks, show_session
from .calling import Said, ask, fields_of, page_of, perform, told
from .grammar import Command
from .options import AsJson, Deadline, Fields, File, JsonFields, SessionIdOrFile
from .shorthand import phone_fields

app = typer.Typer(
    no_args_is_help=True,
    help="Ask Russia's Faster Payments, as SMARTGLOCAL_* say.",
)


@app.command(cls=Command, epilog=fields_of(FPS_VERIFY_CUSTOMER))
def verify_customer(  # noqa: PLR0913 - one option per field
    session_id: SessionIdOrFile = None,
    *,
    phone: Annotated[str | None, typer.Option(help="Needs --bank-id.")] = None,
    bank_id: Annotated[
        str | None, typer.Option(help="Of smartglocal fps banks, such as 100000000069.")
    ] = None,
    first_name: Annotated[str | None, typer.Option(help="The recipient's.")] = None,
    last_name: Annotated[str | None, typer.Option(help="The recipient's.")] = None,
    middle_name: Annotated[str | None, typer.Option(help="The recipient's.")] = None,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Ask whether a phone belongs to a person; free.

    The session ends accepted if it does, and cancelled if not.
    """
    with told(as_json=as_json) as errand:
        recipient = "participant_details.recipient"
        own = {
            "session_id": ("SESSION_ID", session_id),
            **phone_fields(phone, bank_id),
            f"{recipient}.first_name": ("--first-name", first_name),
            f"{recipient}.last_name": ("--last-name", last_name),
            f"{recipient}.middle_name": ("--middle-name", middle_name),
        }
        said = Said(file=file, fields=fields, json_fields=json_fields, own=own)
        session = perform(
            errand,
            FPS_VERIFY_CUSTOMER,
            said,
            lambda api, request, _: api.fps.verify_customer(request, deadline=deadline),
        )
        errand.give(session, show_session)


@app.command(cls=Command, epilog=page_of(FPS_BANKS))
def banks(*, deadline: Deadline = None, as_json: AsJson = False) -> None:
    """Show the banks of the system."""
    with told(as_json=as_json) as errand:
        found = ask(errand, lambda api: api.fps.banks(deadline=deadline))
        errand.give(found, show_banks)
