"""The command ``payouts serve``: its options and its help."""

from pathlib import Path
from typing import Annotated

import typer

from ...command import command
from ...options import AsJson, Host, Port
from ..commands import payouts
from ..options import JOURNAL_VARIABLE, HealthAddress, Server


@command(payouts, "serve", "payouts.page.command:serve")
class ServeOptions:
    """Show the journal on a page in the browser.

    The page shows each batch with its progress, rate, remaining time and sums, the workers, the
    payouts that need review, and each payout with its log; it finds payouts by key, session and
    payee. It changes nothing, and can run while `pay` or workers run. Names and ends of account
    numbers appear only if SMARTGLOCAL_JOURNAL_KEY has the value that it had when the payouts were
    made.

    With --allow-changes the page can also pause, resume and cancel batches, set the limits of all
    workers, and record decisions. For this it asks for the token that is printed at the start. Each
    change is stored in the journal with the name of --as and the time.

    Only this machine can open the page. For other machines, use --host with --tls-cert and
    --tls-key, or run it behind a proxy that has TLS; then the token is needed to read, too.

    Requires SMARTGLOCAL_PROJECT and SMARTGLOCAL_SERVER, unless JOURNAL names a file and nothing is
    changed; no private key. Runs until stopped. Exit code 0, or 2 for invalid arguments.
    """

    journal: Annotated[
        str | None,
        typer.Argument(
            metavar="JOURNAL",
            envvar=JOURNAL_VARIABLE,
            help="Journal file, or PostgreSQL address of the journal. Default: the file for this "
            "server and project, as for `pay`.",
            show_default=False,
        ),
    ] = None
    server: Server = None
    host: Host = "127.0.0.1"
    port: Port = 8090
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Allow changes, to those who have the token.")
    ] = False
    operator: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="Name to store with each change. Default: your login name.",
            show_default=False,
        ),
    ] = None
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Address at which browsers open the page, such as https://payouts.example.com. "
            "Required with --behind-proxy, and with TLS if --host isn't the name in it.",
            show_default=False,
        ),
    ] = None
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert", metavar="PATH", help="Certificate, a PEM file.", show_default=False
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        typer.Option(
            "--tls-key", metavar="PATH", help="Key of the certificate.", show_default=False
        ),
    ] = None
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="A proxy with TLS passes requests on, with the header Host as in --url.",
        ),
    ] = False
    health: HealthAddress = None
    as_json: AsJson = False
