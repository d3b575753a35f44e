"""Webhooks as the provider sends them: signed, to your handlers or to a running service."""

from collections.abc import Mapping
from typing import Final

import aiohttp
from attrs import field, frozen

from ..codec import codec, dump
from ..errors import WebhookRefused
from ..keys import PrivateKey
from ..models.events import WebhookEvent
from ..webhooks.receiver import Webhooks
from ..webhooks.verifier import HTTP_STATUS

_SIGNATURE: Final = "X-PARTNER-SIGN"
_RESPONSE_SECONDS: Final = 30.0


@frozen
class SignedWebhook:
    """The headers and the body of a delivery, for the test client of your framework."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@frozen
class DeliverWebhook:
    """Signs webhooks with a key, and delivers them."""

    key: PrivateKey

    def sign(self, event: WebhookEvent | bytes) -> SignedWebhook:
        """Return the delivery of an event, or of a body as it is."""
        body = event if isinstance(event, bytes) else dump(codec("v1").wire(event))
        signature = self.key.sign(body)
        headers = {"Content-Type": "application/json", _SIGNATURE: signature}
        return SignedWebhook(headers, body)

    async def __call__(self, event: WebhookEvent | bytes, to: Webhooks | str) -> int:
        """Deliver an event, or a body as it is; return the HTTP status of the answer.

        ``to`` is a running `Webhooks`, or the address of a service.
        """
        delivery = self.sign(event)
        if isinstance(to, Webhooks):
            try:
                return (await to.receive(delivery.headers, delivery.body)).http_status
            except WebhookRefused as refused:
                return HTTP_STATUS[refused.fault]
        timeout = aiohttp.ClientTimeout(total=_RESPONSE_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(to, data=delivery.body, headers=delivery.headers) as answer,
        ):
            return answer.status
