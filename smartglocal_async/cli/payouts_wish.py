"""What ``payouts pay`` was asked for, checked before anything is read or sent."""

import asyncio
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from ..errors import InvalidRequest, Misuse
from ..payouts.files import PayoutFile
from ..payouts.pace import pace_of
from ..payouts.protocol import Mode
from ..payouts.stopping import StopOn
from ..values.exactness import above_zero
from ..values.money import AmountDetails
from .payouts_check import EXPECT, amounts
from .payouts_journal import place_of, shown

SPEND: Final = "--spend-limit"


@frozen(kw_only=True)
class Wish:
    """What to pay, how, and when to stop."""

    path: Path
    journal: str
    batch: str
    results: Path
    mode: Mode
    concurrency: int
    rate: float | None
    deadline: float
    totals: dict[str, AmountDetails] | None
    stop_on: StopOn
    as_json: bool
    server: str | None = None

    @property
    def file(self) -> PayoutFile:
        """The file."""
        return PayoutFile(self.path)

    @property
    def again(self) -> str:
        """The command that pays what is left."""
        results = self.results
        given = [] if results == results_of(None, self.path) else ["--results", str(results)]
        return self._command("pay", *given, *self._limits())

    @property
    def resume(self) -> str:
        """The command that goes on with what is open."""
        return self._command("resume")

    def _limits(self) -> list[str]:
        """Give the options that guard the money: what goes on must not do without them.

        Those about failures aren't: what failed is told again, and would stop it again.
        """
        words = [f"{EXPECT}={_written(one)}" for one in (self.totals or {}).values()]
        words += [f"{SPEND}={_written(one)}" for one in self.stop_on.spend]
        words += [] if self.rate is None else [f"--rate={self.rate:g}"]
        return words + (["--stop-on-low-balance"] if self.stop_on.low_balance else [])

    def _command(self, verb: str, *more: str) -> str:
        words = ["smartglocal", "payouts", verb, str(self.path), *more]
        if self.journal != place_of(None, self.path):
            words += ["--journal", shown(self.journal)]
        if self.batch != batch_of(None, self.path):
            words += ["--batch", self.batch]
        if self.mode is not Mode.MANUAL:
            words += ["--confirm", self.mode.value]
        if self.server is not None:
            words += ["--server", self.server]
        return shlex.join(words)


def check_limits(spend: Iterable[AmountDetails], totals: Mapping[str, int]) -> None:
    """Refuse a limit that would limit nothing.

    Raises:
        InvalidRequest: the file pays nothing in its currency.

    """
    for limit in spend:
        if limit.currency not in totals:
            code = limit.currency.upper()
            raise InvalidRequest(SPEND, f"is in {code}, and the file pays nothing in {code}")


def wish_of(  # noqa: PLR0913 - the options of the command
    path: Path,
    *,
    journal: str | None,
    batch: str | None,
    results: Path | None,
    mode: Mode,
    concurrency: int,
    rate: float | None,
    deadline: float,
    expect_total: list[str] | None,
    spend_limit: list[str] | None,
    stop_on_refusal: bool,
    stop_after_failures: int | None,
    stop_on_low_balance: bool,
    as_json: bool,
    server: str | None = None,
) -> Wish:
    """Read the options.

    Raises:
        InvalidRequest: one can't be used.
        Misuse: what --rate needs isn't installed.

    """
    above_zero("--deadline", deadline)
    _check_rate(rate)
    return Wish(
        path=path,
        journal=place_of(journal, path),
        batch=batch_of(batch, path),
        results=results_of(results, path),
        mode=mode,
        concurrency=concurrency,
        rate=rate,
        deadline=deadline,
        totals=amounts(EXPECT, expect_total) or None,
        stop_on=StopOn(
            first_refusal=stop_on_refusal,
            failures_in_a_row=stop_after_failures,
            spend=tuple(amounts(SPEND, spend_limit).values()),
            low_balance=stop_on_low_balance,
        ),
        as_json=as_json,
        server=server,
    )


def batch_of(given: str | None, path: Path) -> str:
    """Give the name of the batch: as given, or that of the file.

    Raises:
        InvalidRequest: it is no name.

    """
    name = path.name if given is None else given
    if not (name and name.isprintable()):
        raise InvalidRequest("--batch", "expected a name of printable characters")
    return name


def results_of(given: Path | None, path: Path) -> Path:
    """Say where the results go: as given, or beside the file.

    Raises:
        InvalidRequest: it is the file itself.

    """
    results = path.with_name(f"{path.name}.results.csv") if given is None else given
    if results.absolute() == path.absolute():
        raise InvalidRequest("--results", "is the file that is to be paid; give another path")
    return results


def _written(amount: AmountDetails) -> str:
    return f"{amount.decimal}{amount.currency}"


def _check_rate(rate: float | None) -> None:
    try:
        _ = pace_of(rate, asyncio.Event())
    except InvalidRequest as error:
        raise InvalidRequest("--rate", error.problem) from None
    except Misuse as error:
        raise Misuse(f"--{error}") from None
