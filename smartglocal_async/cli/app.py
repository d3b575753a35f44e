"""The command line: its groups, the commands in none and those of ``webhooks``, and the version."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from .calls import commands as calls
from .command import Commands, command
from .options import (
    AsJson,
    FaultRate,
    Host,
    OptionalHost,
    OptionalPort,
    OptionalPublicKeyFile,
    PassphraseEnv,
    Port,
    PublicKeyFile,
    Seed,
)
from .output import version_of, write_line
from .payouts.commands import payouts
from .payouts.page import options as _page  # noqa: F401  # pyright: ignore[reportUnusedImport] - adds its command

MIN_KEY_BITS: Final = 2048
_MAX_KEY_BITS: Final = 8192

top = typer.Typer()
webhooks = typer.Typer(no_args_is_help=True, help="Receive webhooks, or replay recorded ones.")

Content = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|-",
        allow_dash=True,
        show_default=False,
        help="The data. With -, or without this argument, standard input is read.",
    ),
]


@command(top, "demo", "demo.command:demo")
class DemoOptions:
    """Create sessions under network faults; check for duplicates.

    Everything runs on this machine, on the emulator. The story `orders` creates one session and
    shows the bytes of its request and response. It then creates many sessions on an emulator that
    drops connections, and compares the counts of the client and the emulator.

    The story `batch` runs `payouts pay` on a file, kills that process with SIGKILL three times,
    starts it again each time, and compares the journal with the emulator. The stories `payout` and
    `payment` show one payout or payment step by step, with webhooks and a lost answer.

    Defaults: --fault-rate 0.1, --seed 7, --concurrency 64. Exit code 1 if a session is missing or
    was created twice, or if money did not move exactly once.
    """

    story: Annotated[
        Literal["orders", "batch", "payout", "payment"], typer.Option(help="What to show.")
    ] = "orders"
    orders: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Number of sessions to create (default 1000), or of payouts in the story `batch` "
            "(default 2000).",
        ),
    ] = None
    fault_rate: FaultRate = None
    seed: Seed = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1000,
            help="Maximum number of sessions or payouts in progress at the same time.",
        ),
    ] = None
    as_json: AsJson = False


@command(top, "emulator", "emulator:emulator")
class EmulatorOptions:
    """Run an emulated provider until interrupted.

    It checks signatures, processes sessions, payouts and payments as the provider's documentation
    describes, sends webhooks, and injects faults if you ask for them. Nothing is sent to the real
    provider. The page docs/reference/emulator.md of the repository explains each option, and lists
    the kinds of faults.

    The emulator generates a key pair for itself and, without --public-key, another one for the
    client. Without --keys they are temporary: set the printed variables again after each start.

    Defaults: --host 127.0.0.1, --port 8080, --project demo, --duplicates replay, --error-status
    400, --webhook-version v1, --confirm manual, --second-start refuse, --idempotency-header
    ignore, --capture immediate.
    """

    host: OptionalHost = None
    port: OptionalPort = None
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with settings; options override it."),
    ] = None
    public_key: OptionalPublicKeyFile = None
    project: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Project to accept (header X-PARTNER-PROJECT)."),
    ] = None
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for keys: generated once, then reused."),
    ] = None
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Write the client's environment to a file."),
    ] = None
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Replace the --env-file if it exists.")
    ] = None
    balance: Annotated[
        list[str] | None,
        typer.Option(metavar="AMOUNT", help="Add a wallet with this balance: 500.00eur."),
    ] = None
    webhook_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address to send webhooks to.")
    ] = None
    webhook_version: Annotated[
        Literal["v1", "v2"] | None,
        typer.Option(metavar="WORD", help="Field names of webhooks: v1 or v2."),
    ] = None
    seed: Seed = None
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with a script of faults."),
    ] = None
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=SHARE", help="Share of one kind of fault; or all=0.01."),
    ] = None
    fault_rate: FaultRate = None
    duplicates: Annotated[
        Literal["replay", "refuse", "create"] | None,
        typer.Option(
            metavar="WORD",
            help="Used key in a create: replay, refuse, create.",
        ),
    ] = None
    error_status: Annotated[
        int | None,
        typer.Option(metavar="N", min=200, max=599, help="HTTP status of error answers."),
    ] = None
    confirm: Annotated[
        Literal["manual", "automatic"] | None,
        typer.Option(metavar="WORD", help="manual: a payout needs a confirm call."),
    ] = None
    second_start: Annotated[
        Literal["refuse", "allow"] | None,
        typer.Option(metavar="WORD", help="Second start in a session: refuse or allow."),
    ] = None
    idempotency_header: Annotated[
        Literal["refuse", "ignore"] | None,
        typer.Option(metavar="WORD", help="Used key in the header: refuse or ignore it."),
    ] = None
    capture: Annotated[
        Literal["immediate", "delayed"] | None,
        typer.Option(metavar="WORD", help="Capture of payments: immediate or delayed."),
    ] = None
    processing_seconds: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, help="Time that a payout or payment takes."),
    ] = None
    latency: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.0, help="Delay of every answer.")
    ] = None
    as_json: AsJson = False


@command(top, "keygen", "keys:keygen")
class KeygenOptions:
    """Generate an RSA key pair.

    Keep the private key secret, and send the public key to your account manager at the provider.
    Existing files are never overwritten.
    """

    bits: Annotated[
        int,
        typer.Option(metavar="N", min=MIN_KEY_BITS, max=_MAX_KEY_BITS, help="Size of the key."),
    ] = MIN_KEY_BITS
    output: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="File for the private key. The public key gets the same name with .pub.pem as its "
            "suffix.",
        ),
    ] = Path("smartglocal.pem")
    passphrase_env: PassphraseEnv = None
    as_json: AsJson = False


@command(top, "sign", "keys:sign")
class SignOptions:
    """Sign a file's exact bytes; print one line of Base64."""

    content: Content = Path("-")
    private_key: Annotated[Path, typer.Option(metavar="FILE", help="Private key, a PEM file.")]
    passphrase_env: PassphraseEnv = None
    as_json: AsJson = False


@command(top, "verify", "keys:verify")
class VerifyOptions:
    """Check a signature: exit code 0 if valid, 1 if not.

    --public-key also accepts the file of a private key, and uses its public part.
    """

    content: Content = Path("-")
    public_key: PublicKeyFile
    signature: Annotated[
        str,
        typer.Option(
            metavar="TEXT|@FILE",
            help="The signature in Base64, or @ and the path of a file with it: Base64, or the raw "
            "bytes that openssl writes.",
        ),
    ]
    passphrase_env: PassphraseEnv = None
    as_json: AsJson = False


@command(top, "doctor", "doctor:doctor")
class DoctorOptions:
    """Check credentials, private key, clock and server.

    Sends one signed request, for the status of a session that doesn't exist. Exit code 1 if a check
    fails.
    """

    as_json: AsJson = False


@command(webhooks, "listen", "webhooks:listen")
class ListenOptions:
    """Verify webhooks as they arrive, and print a line for each.

    Runs until interrupted. Without --public-key it uses SMARTGLOCAL_WEBHOOK_KEY.
    """

    port: Port = 8081
    host: Host = "127.0.0.1"
    path: Annotated[
        str, typer.Option(metavar="PATH", help="Path of the URL that receives webhooks.")
    ] = "/webhooks"
    public_key: OptionalPublicKeyFile = None
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to append the headers and body of each webhook to, as JSON Lines.",
        ),
    ] = None
    as_json: AsJson = False


@command(webhooks, "replay", "webhooks:replay")
class ReplayOptions:
    """Verify recorded webhooks again, or post them to your handler.

    With --to they are posted and not verified. Without --public-key it uses
    SMARTGLOCAL_WEBHOOK_KEY.
    """

    recorded: Annotated[
        Path, typer.Argument(metavar="FILE", help="File that `webhooks listen --record` wrote.")
    ]
    to: Annotated[
        str | None, typer.Option(metavar="URL", help="Post the webhooks to this URL, unchanged.")
    ] = None
    public_key: OptionalPublicKeyFile = None
    as_json: AsJson = False


_EPILOG: Final = (
    "Calls read SMARTGLOCAL_PROJECT (the name of your account at the provider), "
    "SMARTGLOCAL_PRIVATE_KEY (the path of your private key) and SMARTGLOCAL_SERVER. They use "
    "version 1 of the API, or version 2 if SMARTGLOCAL_API_VERSION is v2.\n\n"
    "Exit codes: 0 done. 1 the provider refused the call, or a check failed. 2 invalid arguments "
    "or settings, nothing sent. 3 outcome unknown (also if interrupted after sending): the call "
    "may have been processed, and money may have moved. Repeat a `create` only with the same key. "
    "Before you repeat anything else, run `session status`, or `payouts status` for payouts of a "
    "journal. 4 not sent: safe to repeat. 5 done, and money may have moved, but the answer could "
    "not be printed. 6 (`payouts` only) stopped early, or not everything was paid. 7 (`payouts` "
    "only) the journal is halted. 130 interrupted before anything was sent, or during a call that "
    "changes nothing. Commands with codes of their own list them in their help."
)

app = typer.Typer(
    name="smartglocal",
    cls=Commands,
    no_args_is_help=True,
    # The variables of a traceback would show keys.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes as long to import as all the rest of a help text.
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(top)
app.add_typer(calls.GROUPS["session"], name="session")
app.add_typer(payouts, name="payouts")
app.add_typer(webhooks, name="webhooks")
for _name in ("wallet", "token", "recurrent", "fps", "sberpay", "exchange_rate"):
    app.add_typer(calls.GROUPS[_name], name=_name.replace("_", "-"))
app.add_typer(calls.other)


def _version(is_given: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if is_given:
        write_line(f"smartglocal-async {version_of('smartglocal-async') or '(not installed)'}")
        raise typer.Exit


@app.callback()
def smartglocal(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Work with the Smart Glocal payment API.

    To see it work without an account, run `smartglocal demo`. To try your own calls, run
    `smartglocal emulator` and, in a second terminal, the lines that it prints.
    """
