"""The latest requests as they arrived, with their answers, and what their signatures cover.

If a signature is wrong, `diagnose` finds out which bytes the client signed instead: a signature
reveals their digest, and other serializations of the same JSON are compared with it.
"""

import base64
import binascii
import enum
import hashlib
import itertools
import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, evolve, field, frozen

from ...keys import PublicKey
from ..bank.statistics import RequestRecord

MAX_REQUESTS: Final = 10_000
MAX_BODY_BYTES: Final = 65_536
_MAX_BYTES: Final = 33_554_432


@frozen(kw_only=True)
class IncomingRequest:
    """A request as it arrived; the names in ``headers`` must be case-insensitive."""

    method: str
    path: str
    query: str = ""
    """As it was sent, without its ``?``."""
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class LoggedRequest:
    """A request and its answer; of longer bodies, the first 64 KiB."""

    number: int
    """Counted from 1 since the start."""
    request: IncomingRequest
    size: int
    """Bytes of the whole body."""
    record: RequestRecord
    answer: bytes = field(repr=False)
    """Body of the answer, even if it was never sent; `RequestRecord.http_status` says that."""

    @property
    def kept_bytes(self) -> int:
        """The size of the bodies that are kept."""
        return len(self.request.body) + len(self.answer)


@define(eq=False)
class RequestLog:
    """Keeps the latest 10,000 requests, and at most 32 MiB of bodies."""

    count: int = field(default=0, init=False)
    """All requests since the start."""
    requests: deque[LoggedRequest] = field(factory=deque[LoggedRequest], init=False)
    """The latest requests, oldest first."""
    _bytes: int = field(default=0, init=False)

    def add(self, request: IncomingRequest, record: RequestRecord, answer: bytes) -> None:
        """Add a request, and drop the oldest ones if there are too many."""
        size = len(request.body)
        if size > MAX_BODY_BYTES:
            body = request.body[:MAX_BODY_BYTES]
            request = evolve(request, body=body)
        self.count += 1
        logged = LoggedRequest(
            number=self.count,
            request=request,
            size=size,
            record=record,
            answer=answer[:MAX_BODY_BYTES],
        )
        self.requests.append(logged)
        self._bytes += logged.kept_bytes
        while len(self.requests) > MAX_REQUESTS or self._bytes > _MAX_BYTES:
            self._bytes -= self.requests.popleft().kept_bytes

    def find(self, number: int) -> LoggedRequest | None:
        """Return a request by its number; None if there is none, or it isn't kept any more."""
        place = number - self.requests[0].number if self.requests else -1
        return self.requests[place] if 0 <= place < len(self.requests) else None


class SignatureVerdict(enum.Enum):
    """What a signature is over, and whose it is."""

    VALID = "valid"
    MISSING = "missing"
    NOT_BASE64 = "not base64"
    OTHER_ENCODING = "other encoding"
    """It is right, but written otherwise than in standard Base64 in one line."""
    OTHER_KEY = "other key"
    """The partner's key didn't make it, or made it with another padding."""
    OTHER_HASH = "other hash"
    OTHER_BYTES = "other bytes"
    """The partner's key made it over bytes that aren't the body."""
    WRONG = "wrong"
    """In a list, where it isn't found out what it is over."""
    UNCHECKED = "unchecked"
    """The project was unknown, so that it wasn't checked."""


@frozen(kw_only=True)
class SignatureDiagnosis:
    """What is wrong with a signature, and which bytes were signed instead of the body."""

    verdict: SignatureVerdict
    words: str
    signed: bytes | None = field(default=None, repr=False)
    """The bytes that were signed, if they are another serialization of the body."""
    digest: str | None = None
    """SHA-256 of the bytes that were signed, in hexadecimal, if the signature shows it."""

    def first_difference(self, body: bytes) -> int | None:
        """Return the offset of the first byte that differs; None if no signed bytes are known."""
        if self.signed is None:
            return None
        pairs = enumerate(itertools.zip_longest(self.signed, body))
        return next((place for place, (signed, got) in pairs if signed != got), None)


def diagnose(body: bytes, signature: str | None, key: PublicKey) -> SignatureDiagnosis:
    """Return whether a signature is valid, and else what it is over."""
    if not signature:
        words = "There is no X-PARTNER-SIGN header."
        return SignatureDiagnosis(verdict=SignatureVerdict.MISSING, words=words)
    if key.verifies(body, signature):
        words = "The signature is the partner's, over exactly these bytes."
        return SignatureDiagnosis(verdict=SignatureVerdict.VALID, words=words)
    for encoding, raw in _decoded(signature):
        if encoding and key.verifies(body, base64.b64encode(raw).decode("ascii")):
            words = f"It is the right signature, but {encoding}: write it in standard Base64."
            return SignatureDiagnosis(verdict=SignatureVerdict.OTHER_ENCODING, words=words)
        if (found := key.digest_in(raw)) is not None:
            return _of_other_bytes(body, *found)
    first = next((raw for _, raw in _decoded(signature)), None)
    if first is None:
        words = "The header isn't Base64."
        return SignatureDiagnosis(verdict=SignatureVerdict.NOT_BASE64, words=words)
    words = (
        "The partner's key didn't make this signature: another private key signed, or the padding "
        "isn't PKCS#1 v1.5 (but PSS, for example), or the header was changed on its way."
    )
    if len(first) * 8 != key.bits:
        words += f" It has {len(first)} bytes; a signature of this key has {key.bits // 8}."
    return SignatureDiagnosis(verdict=SignatureVerdict.OTHER_KEY, words=words)


def _decoded(signature: str) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of a signature in each encoding that it may have; the first is the right."""
    compact = "".join(signature.split())
    padded = compact.rstrip("=") + "=" * (-len(compact.rstrip("=")) % 4)
    for words, text in (
        ("", signature),
        ("with spaces or line breaks in it", compact),
        ("without its padding", padded),
        ("in URL-safe Base64", padded.replace("-", "+").replace("_", "/")),
    ):
        try:
            yield words, base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
    try:
        yield "in hexadecimal", bytes.fromhex(compact)
    except ValueError:
        return


def _of_other_bytes(body: bytes, hash_name: str, digest: bytes) -> SignatureDiagnosis:
    """Return what a signature of the partner's key is over, by the digest that it shows."""
    if hash_name != "SHA-256":
        what = f"it is over a {hash_name} digest" if hash_name else "no hash is named in it"
        words = f"The partner's key made this signature, but {what}: sign with SHA-256."
        return SignatureDiagnosis(verdict=SignatureVerdict.OTHER_HASH, words=words)
    shown = digest.hex()
    for words, candidate in _serializations(body):
        if hashlib.sha256(candidate).digest() == digest:
            return SignatureDiagnosis(
                verdict=SignatureVerdict.OTHER_BYTES,
                words=f"What was signed is {words}. Sign exactly the bytes that are sent.",
                signed=candidate,
                digest=shown,
            )
    words = (
        "The partner's key signed other bytes, which are no other serialization of this body, "
        "either. Sign exactly the bytes that are sent."
    )
    return SignatureDiagnosis(verdict=SignatureVerdict.OTHER_BYTES, words=words, digest=shown)


@frozen
class _Style:
    """How a JSON text is written; each part has words for what differs from another style."""

    is_sorted: bool
    spacing: str
    is_escaped: bool
    has_escaped_slashes: bool
    ending: str

    def write(self, value: object) -> bytes:
        indent, separators = _SPACINGS[self.spacing]
        text = json.dumps(
            value,
            sort_keys=self.is_sorted,
            ensure_ascii=self.is_escaped,
            indent=indent,
            separators=separators,
        )
        if self.has_escaped_slashes:
            text = text.replace("/", "\\/")
        return f"{text}{_ENDINGS[self.ending]}".encode("utf-8", "surrogatepass")

    def differences(self, other: "_Style") -> list[str]:
        """Return what is different from the other style, in words."""
        parts = (
            (self.is_sorted != other.is_sorted, _SORTED[self.is_sorted]),
            (self.spacing != other.spacing, self.spacing),
            (self.is_escaped != other.is_escaped, _ESCAPED[self.is_escaped]),
            (
                self.has_escaped_slashes != other.has_escaped_slashes,
                "slashes escaped" if self.has_escaped_slashes else "slashes not escaped",
            ),
            (self.ending != other.ending, self.ending),
        )
        return [words for is_different, words in parts if is_different]


_SPACINGS: Final[Mapping[str, tuple[int | None, tuple[str, str]]]] = {
    "no spaces": (None, (",", ":")),
    "a space after each comma and colon": (None, (", ", ": ")),
    "a space after each colon": (None, (",", ": ")),
    "lines indented by 2": (2, (",", ": ")),
    "lines indented by 4": (4, (",", ": ")),
}
_ENDINGS: Final[Mapping[str, str]] = {
    "no line break at the end": "",
    "a line break at the end": "\n",
    "CR and LF at the end": "\r\n",
}
_SORTED: Final = {True: "names sorted", False: "names in the order of the body"}
_ESCAPED: Final = {
    True: "letters outside of ASCII escaped (\\u...)",
    False: "letters outside of ASCII not escaped",
}
_STYLES: Final = tuple(
    _Style(is_sorted, spacing, is_escaped, has_escaped_slashes, ending)
    for is_sorted, spacing, is_escaped, has_escaped_slashes, ending in itertools.product(
        (False, True), _SPACINGS, (True, False), (False, True), _ENDINGS
    )
)


def _serializations(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what a client may have signed instead of a body, with words for it."""
    digest = hashlib.sha256(body)
    yield "an empty body", b""
    yield "the body without the spaces or line breaks around it", body.strip()
    yield "the body with a line break at the end", body + b"\n"
    yield "the SHA-256 of the body in hexadecimal, hashed once more", digest.hexdigest().encode()
    yield "the SHA-256 of the body, hashed once more", digest.digest()
    yield "the body in Base64", base64.b64encode(body)
    try:
        value: object = json.loads(body)
        written = [(style, style.write(value)) for style in _STYLES]
    except (ValueError, RecursionError):
        return
    own = next((style for style, text in written if text == body), _STYLES[0])
    for style, text in sorted(written, key=lambda one: len(one[0].differences(own))):
        yield f"the same JSON with {', '.join(style.differences(own)) or 'other spacing'}", text
