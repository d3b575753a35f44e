"""The work that is compared: one request and one answer, the same for every client."""

import json
from typing import Any, Final

PATH: Final = "/api/v1/session/create"
SESSION_ID: Final = "ps_3230"
PROJECT: Final = "your_project_name"
SIGNATURE: Final = "x" * 344
"""As long as a signature of 2048 bits, for clients that don't sign."""

AMOUNT, CURRENCY = 10_000, "usd"
METADATA: Final = {
    "order": "order123",
    "shop": "spring-street-42",
    "campaign": "newsletter-2026-03",
    "cart": "2 oak shelves, 1 brass lamp, 4 linen napkins, 1 box of nails, 1 hammer",
}
KEY: Final = "0f9d3c1e-6f6f-4a55-9a53-5f1a3f0f1b7c"

ANSWER: Final = b"""{
"status": "ok",
"session": {
"id": "ps_3230",
"status": "created",
"created_at": "2024-05-27T02:03:00.000000Z",
"updated_at": "2024-05-27T02:03:00.000000Z"
}
}"""
"""The example of the provider's page."""


def document(key: str) -> dict[str, Any]:
    """Return the page's example request as a dict, its metadata an order with a key."""
    return {
        "amount_details": {"amount": AMOUNT, "currency": CURRENCY},
        "metadata": {**METADATA, "idempotency_key": key},
    }


BODY: Final = json.dumps(document(KEY), separators=(",", ":")).encode()


def headers(signature: str) -> dict[str, str]:
    """Return the headers of every call."""
    return {
        "Content-Type": "application/json",
        "X-PARTNER-PROJECT": PROJECT,
        "X-PARTNER-SIGN": signature,
    }
