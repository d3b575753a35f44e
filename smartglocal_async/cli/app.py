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
    Output,
    PassphraseEnv,
    Port,
    PublicKeyFile,
    Seed,
)
from .output import version_of, write_line
from .payouts.commands import payouts

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
        help="What is signed; - or nothing reads standard input.",
    ),
]


@command(top, "demo", "demo.command:demo")
class DemoOptions:
    """Show the main job: many sessions, many faults, no duplicates.

    Creates one session and shows its bytes, then many sessions at a provider that drops
    connections, and compares what client and provider counted.

    The story `batch` pays a file, kills its own worker with SIGKILL three times, starts another
    one, and compares the journal with the provider. The stories `payout` and `payment` show one
    payout or payment step by step, with webhooks and a lost answer.

    Defaults: --fault-rate 0.1, --seed 7, --concurrency 64. Exit code 1 if an order got no session
    or two, or if money did not move exactly once.
    """

    story: Annotated[
        Literal["orders", "batch", "payout", "payment"], typer.Option(help="What to show.")
    ] = "orders"
    orders: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Sessions to create (1000), or payouts of the batch (2000)."
        ),
    ] = None
    fault_rate: FaultRate = None
    seed: Seed = None
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1000, help="How many run at the same time."),
    ] = None
    as_json: AsJson = False


@command(top, "emulator", "emulator:emulator")
class EmulatorOptions:
    """Run an emulated provider until interrupted.

    It checks signatures, processes sessions and payments like the provider, sends webhooks, and
    injects faults on request. Without --public-key it generates a key pair for the client.

    Defaults: --host 127.0.0.1, --port 8080, --project demo, --duplicates replay, --error-status
    400, --webhook-version v1, --confirm manual, --second-start refuse, --idempotency-header
    ignore, --capture immediate.
    """

    host: OptionalHost = None
    port: OptionalPort = None
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings, a TOML file; options override it."),
    ] = None
    public_key: OptionalPublicKeyFile = None
    project: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The X-PARTNER-PROJECT to accept.")
    ] = None
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keys are generated there once, and reused."),
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
        typer.Option(metavar="AMOUNT", help="Wallet, such as 20000000eur; repeatable."),
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
        typer.Option(metavar="FILE", help="Script of faults, a TOML file."),
    ] = None
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND=SHARE", help="One kind's share, or all=0.01; repeatable."),
    ] = None
    fault_rate: FaultRate = None
    duplicates: Annotated[
        Literal["replay", "refuse", "create"] | None,
        typer.Option(metavar="WORD", help="Second create: replay, refuse or create."),
    ] = None
    error_status: Annotated[
        int | None,
        typer.Option(metavar="N", min=200, max=599, help="HTTP status of errors."),
    ] = None
    confirm: Annotated[
        Literal["manual", "automatic"] | None,
        typer.Option(metavar="WORD", help="Confirmation: manual or automatic."),
    ] = None
    second_start: Annotated[
        Literal["refuse", "allow"] | None,
        typer.Option(metavar="WORD", help="Second payout of a session: refuse, allow."),
    ] = None
    idempotency_header: Annotated[
        Literal["refuse", "ignore"] | None,
        typer.Option(metavar="WORD", help="A used key in the header: refuse or ignore."),
    ] = None
    capture: Annotated[
        Literal["immediate", "delayed"] | None,
        typer.Option(metavar="WORD", help="Capture of payments: immediate or delayed."),
    ] = None
    processing_seconds: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, help="Duration of each step."),
    ] = None
    latency: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.0, help="Delay of every answer.")
    ] = None
    as_json: AsJson = False


@command(top, "keygen", "keys:keygen")
class KeygenOptions:
    """Generate an RSA key pair.

    Keep the private key for yourself, and register the public key with the provider. Existing
    files are never overwritten.
    """

    bits: Annotated[
        int,
        typer.Option(metavar="N", min=MIN_KEY_BITS, max=_MAX_KEY_BITS, help="Size of the key."),
    ] = MIN_KEY_BITS
    output: Output = Path("smartglocal.pem")
    passphrase_env: PassphraseEnv = None
    as_json: AsJson = False


@command(top, "sign", "keys:sign")
class SignOptions:
    """Sign the exact bytes of a file: Base64, one line."""

    content: Content = Path("-")
    private_key: Annotated[Path, typer.Option(metavar="FILE", help="Private key, a PEM file.")]
    passphrase_env: PassphraseEnv = None
    as_json: AsJson = False


@command(top, "verify", "keys:verify")
class VerifyOptions:
    """Check a signature: exit code 0 if valid, 1 if not.

    --public-key also accepts a private key, whose public part is used.
    """

    content: Content = Path("-")
    public_key: PublicKeyFile
    signature: Annotated[
        str,
        typer.Option(
            metavar="TEXT|@FILE",
            help="Base64, or a file with Base64 or with the raw bytes that openssl writes.",
        ),
    ]
    passphrase_env: PassphraseEnv = None
    as_json: AsJson = False


@command(top, "doctor", "doctor:doctor")
class DoctorOptions:
    """Check credentials, key, clock and server.

    Sends one signed request: for the status of a session that doesn't exist. Exit code 1 if a
    check fails.
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
            metavar="FILE", help="Append headers and body of each webhook, as JSON Lines."
        ),
    ] = None
    as_json: AsJson = False


@command(webhooks, "replay", "webhooks:replay")
class ReplayOptions:
    """Verify recorded webhooks again, or post them to your handler.

    Without --public-key it uses SMARTGLOCAL_WEBHOOK_KEY.
    """

    recorded: Annotated[
        Path, typer.Argument(metavar="FILE", help="Written by `webhooks listen --record`.")
    ]
    to: Annotated[str | None, typer.Option(metavar="URL", help="Post them there, unchanged.")] = (
        None
    )
    public_key: OptionalPublicKeyFile = None
    as_json: AsJson = False


_EPILOG: Final = (
    "Exit codes: 0 done. 1 refused or failed. 2 invalid arguments or settings, nothing sent. "
    "3 outcome unknown, also when interrupted: the call may have been processed and money may have "
    "moved; repeat a create only with the same key. 4 not sent: safe to repeat. 5 done, and money "
    "may have moved, but the answer could not be printed. 6 payouts stopped early. 7 payouts are "
    "halted. 130 interrupted before anything was sent."
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
    """Work with the Smart Glocal payment API; start with: smartglocal demo."""
