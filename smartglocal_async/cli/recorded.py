"""Recorded webhooks: a line of JSON each, with the bytes and the headers as they came."""

import base64
import binascii
import http.client
import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, cast
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen

from ..errors import InvalidRequest

_OWNER_ONLY: Final = 0o600
_ANSWER_SECONDS: Final = 60.0
# Of one connection, and not of the message; http.client writes its own.
_OF_THE_HOP: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@frozen(kw_only=True)
class Recorded:
    """One delivery as it came; the body tells about customers, and the file is its owner's."""

    received_at: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def line(self) -> bytes:
        """Give the line of the file."""
        wire = {
            "received_at": self.received_at,
            "headers": self.headers,
            "body_base64": base64.b64encode(self.body).decode("ascii"),
        }
        return json.dumps(wire).encode("ascii") + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """Read a line of the file.

        Raises:
            ValueError: it is none.

        """
        try:
            wire: dict[str, Any] = json.loads(line)
            pairs = cast("list[tuple[str, str]]", wire["headers"])
            headers = tuple((_text(name), _text(value)) for name, value in pairs)
            body = base64.b64decode(_text(wire["body_base64"]), validate=True)
            return cls(received_at=_text(wire["received_at"]), headers=headers, body=body)
        except (KeyError, TypeError, ValueError, RecursionError, binascii.Error):
            raise ValueError("isn't a recorded webhook") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def read_recorded(path: Path) -> Iterator[Recorded]:
    """Give the deliveries that are in a file now, in their order.

    Not those that are added meanwhile: it may be the record of the very handler that they are
    played to.
    """
    with path.open("rb") as lines:
        end = os.fstat(lines.fileno()).st_size
        for number, line in enumerate(iter(lines.readline, b""), 1):
            if lines.tell() > end:
                return
            if not line.strip():
                continue
            try:
                yield Recorded.of_line(line)
            except ValueError as error:
                raise InvalidRequest(f"{path}, line {number}", str(error)) from None


@contextmanager
def recorder(path: Path | None) -> Generator[BinaryIO | None, None, None]:
    """Open a file to add lines to; a new one can be read by its owner alone."""
    if path is None:
        yield None
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with os.fdopen(os.open(path, flags, _OWNER_ONLY), "ab", buffering=0) as file:
        yield cast("BinaryIO", file)


def read_url(text: str) -> SplitResult:
    """Read the address of a handler."""
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        is_usable = False
        url = SplitResult("", "", "", "", "")
    if not is_usable or "@" in url.netloc or not text.isascii() or not text.isprintable():
        raise InvalidRequest("--to", "must be an address like http://127.0.0.1:8000/webhooks")
    return url


def post(url: SplitResult, recorded: Recorded) -> int:
    """Send the same bytes with the same headers, straight to the address; give the HTTP status.

    Raises:
        OSError: no answer came.

    """
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    line = kind(url.hostname or "", url.port, timeout=_ANSWER_SECONDS)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        line.putrequest("POST", path, skip_accept_encoding=True)
        for name, value in recorded.headers:
            if name.lower() not in _OF_THE_HOP:
                line.putheader(name, value.encode("utf-8", "surrogateescape"))
        line.putheader("Content-Length", str(len(recorded.body)))
        line.endheaders(recorded.body)
        with line.getresponse() as answer:
            return answer.status
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no HTTP answer came ({type(error).__name__})") from None
    finally:
        line.close()
