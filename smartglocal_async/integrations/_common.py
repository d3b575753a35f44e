"""Reading the body of a delivery, up to a limit, and answering it: the same for all frameworks."""

import asyncio
from collections.abc import AsyncIterable
from typing import Final

from ..errors import WebhookFault, WebhookRefused
from ..models.events import WebhookEvent
from ..observer.delivery import Observers
from ..webhooks.receiver import Webhooks, refused_event
from ..webhooks.verifier import HTTP_STATUS, Headers, WebhookVerifier

READ_SECONDS: Final = 30.0
"""How long a body may take to arrive."""
GONE: Final = (400, "the body did not come whole")
"""Never read: the client has closed the connection."""

_MAX_DIGITS: Final = 13
"""Enough for a length above any limit."""

Answer = tuple[int, str]
"""Status and text."""


def read_length(header: str | None) -> int | None:
    """Return the number of bytes in Content-Length; None if it isn't a number.

    A number of thousands of digits, which `int` refuses, is cut; it is still above any limit.
    """
    if header is None or not header.isascii() or not header.isdigit():
        return None
    return int(header[:_MAX_DIGITS])


async def read_body(chunks: AsyncIterable[bytes], length: int | None, max_bytes: int) -> bytes:
    """Return the body's raw bytes; never holds more than ``max_bytes`` of them.

    Raises:
        WebhookRefused: the body is larger, or didn't arrive within `READ_SECONDS`.

    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await _read(chunks, length, max_bytes)
    except TimeoutError:
        refused = WebhookRefused(WebhookFault.TOO_SLOW, f"more than {READ_SECONDS:g} s")
    raise refused


async def _read(chunks: AsyncIterable[bytes], length: int | None, max_bytes: int) -> bytes:
    body = bytearray()
    too_large = WebhookRefused(WebhookFault.TOO_LARGE, f"more than {max_bytes:,} bytes")
    if length is not None and length > max_bytes:
        raise too_large
    async for chunk in chunks:
        if len(body) + len(chunk) > max_bytes:
            del body, chunk
            raise too_large
        body += chunk
    return bytes(body)


async def verified(
    webhooks: Webhooks | WebhookVerifier,
    headers: Headers,
    length: int | None,
    chunks: AsyncIterable[bytes],
) -> WebhookEvent:
    """Return the event of a delivery; a refusal is logged, and reaches observers if there are any.

    Raises:
        WebhookRefused: it isn't signed by the provider, can't be read, or didn't arrive in time.

    """
    verifier = webhooks.verifier if isinstance(webhooks, Webhooks) else webhooks
    try:
        # In no variable, so that the body isn't in the frames of an error.
        return verifier.verify(headers, await read_body(chunks, length, verifier.max_bytes))
    except WebhookRefused as refused:
        if isinstance(webhooks, Webhooks):
            webhooks.emit_refusal(refused)
        else:
            Observers().emit(refused_event(refused))
        raise


async def answer(
    webhooks: Webhooks, headers: Headers, length: int | None, chunks: AsyncIterable[bytes]
) -> Answer:
    """Receive a delivery; return the status and text of the answer."""
    try:
        event = await verified(webhooks, headers, length, chunks)
    except WebhookRefused as refused:
        return refusal(refused)
    receipt = await webhooks.accept(event)
    return receipt.http_status, receipt.state.value


def refusal(refused: WebhookRefused) -> Answer:
    """Return the status and text of the answer to a refused delivery."""
    return HTTP_STATUS[refused.fault], refused.fault.value
