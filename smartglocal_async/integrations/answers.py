"""What every framework does with a delivery: read so much and no more, and answer."""

import asyncio
import logging
from collections.abc import AsyncIterable
from typing import Final

from ..errors import WebhookFault, WebhookRefused
from ..inbox import Webhooks
from ..webhooks import HTTP_STATUS, Headers

_LOG: Final = logging.getLogger("smartglocal_async.webhooks")
READ_SECONDS: Final = 30.0
"""How long a body may take to come in."""
TOO_SLOW: Final = (408, "the body did not come in time")
GONE: Final = (400, "the body did not come whole")
"""For nobody: whoever hung up reads no answer."""

_MOST_DIGITS: Final = 13
"""Enough for a length that is too large for anybody."""

Answer = tuple[int, str]
"""Status and text."""


def read_length(header: str | None) -> int | None:
    """Give the number of bytes that Content-Length announces; None if that is no number.

    A number of thousands of digits, which `int` refuses, is cut: it stays larger than any limit.
    """
    if header is None or not header.isascii() or not header.isdigit():
        return None
    return int(header[:_MOST_DIGITS])


async def read_body(chunks: AsyncIterable[bytes], length: int | None, most_bytes: int) -> bytes:
    """Give the bytes as they came; no more than ``most_bytes`` of them are ever held.

    Raises:
        WebhookRefused: there are more.
        TimeoutError: they didn't come in time.

    """
    body = bytearray()
    too_large = WebhookRefused(WebhookFault.TOO_LARGE, f"more than {most_bytes:,} bytes")
    if length is not None and length > most_bytes:
        raise too_large
    async with asyncio.timeout(READ_SECONDS):
        async for chunk in chunks:
            if len(body) + len(chunk) > most_bytes:
                del body, chunk
                raise too_large
            body += chunk
    return bytes(body)


async def answer(
    webhooks: Webhooks, headers: Headers, length: int | None, chunks: AsyncIterable[bytes]
) -> Answer:
    """Receive a delivery; give what to answer."""
    most_bytes = webhooks.verifier.most_bytes
    try:
        # In no variable: the frames of an error must not hold the body.
        receipt = await webhooks.receive(headers, await read_body(chunks, length, most_bytes))
    except WebhookRefused as refused:
        return refusal(refused)
    except TimeoutError:
        return TOO_SLOW
    return receipt.http_status, receipt.state.value


def refusal(refused: WebhookRefused) -> Answer:
    """Log a delivery that is refused, and give what to answer."""
    facts = {"webhook_fault": refused.fault.name, "webhook_detail": refused.detail}
    _LOG.warning("a webhook was refused: %s", refused.fault.value, extra=facts)
    return HTTP_STATUS[refused.fault], refused.fault.value
