"""The emulator's table, a line for each request, as wide as the terminal."""

import shutil
import sys
from typing import Final, Self

from attrs import frozen
from rich.cells import cell_len, set_cell_size

from .. import emulator as box
from .screen import printable

_HEADING: Final = ("time", "call", "key", "try", "fault", "http", "result")
_WIDTHS: Final = (8, 6, 36, 3, 12, 4, 20)
_KEY: Final = _HEADING.index("key")
_SHORTEST_KEY: Final = 12
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
                seen.operation.removeprefix("session/"),
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


def _fitted(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return _padded(text, width)
    return set_cell_size(text, width - 1) + _ELLIPSIS


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
