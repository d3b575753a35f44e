"""``payouts work``: checks what a worker needs, and runs it."""

from ..signals import run_async, sigterm_interrupts
from .commands import WorkOptions
from .journals import check_extra, check_journal_key, client_of, next_command, shared
from .summary import interrupt_named


def work(options: WorkOptions) -> None:
    """Run a worker until it is stopped, or done."""
    with sigterm_interrupts():
        check_extra()
        _ = shared(options.journal)
        check_journal_key()
        _ = client_of(options.server)
        # Imported when it is used: it needs an extra.
        from .worker import WorkerRun  # noqa: PLC0415

        again = next_command(
            "work",
            journal=options.journal or "",
            server=options.server,
            confirm=options.confirm,
        )
        with interrupt_named(again):
            error = run_async(WorkerRun(options, options.journal or "").to_end())
        if error is not None:
            raise error
