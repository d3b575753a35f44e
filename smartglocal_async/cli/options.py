"""The options that several commands share: one name, one placeholder and one help text each."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="Write JSON to standard output, and nothing else.")
]
_output = typer.Option("--output", metavar="PATH", help="File to write.", show_default=False)
Output = Annotated[Path, _output]
OptionalOutput = Annotated[Path | None, _output]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask; required without a terminal.")]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")]
Port = Annotated[
    int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 chooses a free port.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="The same seed chooses the same faults.")
]
FaultRate = Annotated[
    float | None,
    typer.Option(
        "--fault-rate",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="Share of attempts that get a fault, such as 0.1.",
    ),
]
PassphraseEnv = Annotated[
    str | None,
    typer.Option(
        "--passphrase-env", metavar="NAME", help="Environment variable with the key's passphrase."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="TEXT",
        help="Idempotency key: your own id of this call. Repeat the call with the same key only.",
    ),
]
_deadline = typer.Option(
    "--deadline", metavar="SECONDS", help="Time limit of the call, with all its attempts."
)
Deadline = Annotated[float, _deadline]
OptionalDeadline = Annotated[float | None, _deadline]
_public_key = typer.Option("--public-key", metavar="FILE", help="Public key, a PEM file.")
PublicKeyFile = Annotated[Path, _public_key]
OptionalPublicKeyFile = Annotated[Path | None, _public_key]
Concurrency = Annotated[
    int, typer.Option("--concurrency", metavar="N", min=1, help="How many run at the same time.")
]
