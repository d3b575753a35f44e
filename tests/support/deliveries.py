"""Webhooks as the provider sends them: bodies of both API versions, signed."""

import json
from typing import Any, Final

import smartglocal_async as sg
from smartglocal_async.testing import DeliverWebhook

HEADER: Final = "X-PARTNER-SIGN"
TOKEN: Final = "tkn_0f3ab19c77"  # noqa: S105 - searched for in logs and errors


def body(kind: str = "payment_finished", session: str = "ps_1", **fields: Any) -> bytes:
    """Return the body of a webhook; `fields` are those of the session."""
    wire = {
        "id": session,
        "status": "accepted",
        "created_at": "2026-05-27T02:03:00.000000Z",
        "updated_at": "2026-05-27T02:03:00.000000Z",
        **fields,
    }
    return json.dumps({"type": kind, "session": wire}).encode()


def payout(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    """Return a payout as webhooks show it."""
    return {
        "id": "po_1",
        "status": status,
        "created_at": "2026-05-27T02:03:00.000000Z",
        "amount_details": {"amount": 10_000, "currency": "usd"},
        **fields,
    }


def signed(key: sg.PrivateKey, content: bytes) -> dict[str, str]:
    """Return the headers of a delivery."""
    return dict(DeliverWebhook(key).sign(content).headers)
