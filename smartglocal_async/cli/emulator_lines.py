"""What the emulator says: a line for each request, as wide as the terminal, and the rest."""

import shlex
import shutil
import sys
from collections.abc import Generator, Mapping
from typing import Any, Final, Self

from attrs import asdict, frozen
from rich.cells import cell_len, set_cell_size

from .. import emulator as box
from .screen import printable

_HEADING: Final = ("time", "call", "key", "try", "fault", "http", "result")
_WIDTHS: Final = (8, 7, 36, 3, 12, 4, 20)
_KEY: Final = _HEADING.index("key")
_SHORTEST_KEY: Final = 12
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - only when asked for
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"


@frozen
class Lines:
    """Lines no longer than ``columns``; None: as long as they get."""

    columns: int | None = None

    @classmethod
    def of_terminal(cls) -> Self:
        """Fit the terminal of standard output, if it is one."""
        return cls(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)

    def heading(self) -> str:
        """Give the names of the columns."""
        return self._line(_HEADING)

    def request(self, seen: box.Seen) -> str:
        """Give one request; whatever is left out here, JSON has."""
        return self._line(
            (
                f"{seen.time:%H:%M:%S}",
                _call(seen.operation),
                seen.key or "-",
                # Without a key it is the number of the request on the server, and no attempt.
                seen.attempt if seen.key and seen.attempt else "-",
                seen.fault or "-",
                seen.http_status or "-",
                seen.session_id or seen.error_code or "-",
            )
        )

    def _line(self, cells: tuple[object, ...]) -> str:
        texts = [printable(str(cell)) for cell in cells]
        if self.columns is None:
            whole = (_padded(text, width) for text, width in zip(texts, _WIDTHS, strict=True))
            return " ".join(whole).rstrip()
        widths = list[int](_WIDTHS)
        spare = self.columns - sum(_WIDTHS) - len(_WIDTHS) + 1
        widths[_KEY] = max(_SHORTEST_KEY, min(_WIDTHS[_KEY], _WIDTHS[_KEY] + spare))
        fitted = (_fitted(text, width) for text, width in zip(texts, widths, strict=True))
        return _fitted(" ".join(fitted).rstrip(), self.columns).rstrip()


def plain(seen: box.Seen) -> dict[str, Any]:
    """Give a request as JSON has it."""
    return asdict(seen) | {"time": seen.time.isoformat()}


def reachable(url: str) -> str:
    """Give an address for this machine, where the server listens on all of them."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    return f"{scheme}://{_EVERYWHERE.get(host.strip('[]'), host)}:{port}"


def export_lines(settings: Mapping[str, str | None]) -> Generator[str, None, None]:
    """Give what another terminal needs."""
    yield "In another terminal:"
    for name, value in settings.items():
        said = shlex.quote(value) if value else "<the file of the private key>"
        yield f"  export {name}={said}"
    yield ""


def report_lines(report: box.Report) -> Generator[str, None, None]:
    """Give what is said at the end, a count a line."""
    told = report.as_dict()
    faults = (f"{kind} {times}" for kind, times in sorted(report.faults.items()))
    money = (_balances(code, accounts) for code, accounts in sorted(report.balances.items()))
    told |= {"faults": ", ".join(faults) or "none", "balances": "; ".join(money) or "none"}
    for name, count in told.items():
        yield f"  {name.replace('_', ' '):<15}{count}"


def _balances(code: str, accounts: Mapping[str, int]) -> str:
    amounts = (f"{name.replace('_', ' ')} {amount}" for name, amount in accounts.items() if amount)
    return f"{code}: {', '.join(amounts)}"


def _call(operation: str) -> str:
    # "start" for a start of either kind: the column is narrow.
    if operation.startswith("/"):
        return operation
    return operation.removeprefix("session/").partition("/")[0]


def _fitted(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return _padded(text, width)
    return set_cell_size(text, width - 1) + _ELLIPSIS


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
