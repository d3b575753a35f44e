"""A client of the emulator's admin API, for a test in another process than the emulator."""

from typing import Any, Final
from urllib.parse import quote

import aiohttp
from attrs import frozen

from ..errors import InvalidRequest, Misuse

_RESPONSE_SECONDS: Final = 30.0
_BAD_REQUEST: Final = 400


@frozen
class EmulatorAdmin:
    """Looks into a running emulator and acts on it, over HTTP, from this machine.

    Each method returns the JSON object that the emulator's reference documents.

    Raises:
        InvalidRequest: a field is wrong, or what is asked for can't be done now.
        Misuse: there is no such session, request or webhook, or the emulator refused the call.

    """

    url: str
    """The emulator's address, such as ``http://127.0.0.1:8080``."""

    async def overview(self) -> dict[str, Any]:
        """Return the counts since the start, and the emulator's time."""
        return await self._call("GET", "overview")

    async def sessions(
        self, *, text: str = "", only: str = "", offset: int = 0, limit: int = 50
    ) -> dict[str, Any]:
        """Return a page of the sessions, newest first; ``only`` is a stage, such as ``ready``."""
        return await self._call("GET", "sessions", text=text, only=only, offset=offset, limit=limit)

    async def session(self, id_: str) -> dict[str, Any]:
        """Return a session, by its id or that of a payout or payment in it."""
        return await self._call("GET", f"sessions/{quote(id_, safe='')}")

    async def requests(
        self,
        *,
        text: str = "",
        only: str = "",
        session: str = "",
        offset: int = 0,
        limit: int = 50,
    ) -> dict[str, Any]:
        """Return a page of the requests, newest first; ``only`` may be ``refused``."""
        options = {"text": text, "only": only, "session": session}
        return await self._call("GET", "requests", **options, offset=offset, limit=limit)

    async def request(self, number: int) -> dict[str, Any]:
        """Return a request as it arrived, and what its signature is over."""
        return await self._call("GET", f"requests/{number}")

    async def webhooks(
        self,
        *,
        text: str = "",
        only: str = "",
        session: str = "",
        offset: int = 0,
        limit: int = 50,
    ) -> dict[str, Any]:
        """Return a page of the webhooks, newest first; ``only`` is a state: ``delivered``."""
        options = {"text": text, "only": only, "session": session}
        return await self._call("GET", "webhooks", **options, offset=offset, limit=limit)

    async def webhook(self, number: int) -> dict[str, Any]:
        """Return a webhook with its body and its deliveries."""
        return await self._call("GET", f"webhooks/{number}")

    async def settings(self) -> dict[str, Any]:
        """Return the faults, rules, wallets and settings of webhooks."""
        return await self._call("GET", "settings")

    async def confirm(self, id_: str) -> dict[str, Any]:
        """Confirm a session as the partner's call does; return the session."""
        return await self._act(id_, "confirm")

    async def cancel(self, id_: str) -> dict[str, Any]:
        """Cancel a session as the partner's call does; return the session."""
        return await self._act(id_, "cancel")

    async def succeed(self, id_: str) -> dict[str, Any]:
        """Have a payout or payment succeed; return the session."""
        return await self._act(id_, "succeed")

    async def decline(self, id_: str, code: str | None = None) -> dict[str, Any]:
        """Decline a payout or payment with an error code; return the session."""
        return await self._act(id_, "decline", **({} if code is None else {"code": code}))

    async def chargeback(self, id_: str) -> dict[str, Any]:
        """Charge a payment back; return the session."""
        return await self._act(id_, "chargeback")

    async def return_payout(self, id_: str) -> dict[str, Any]:
        """Return a payout as the recipient's bank may; return the session."""
        return await self._act(id_, "return")

    async def send_again(self, webhook: int) -> dict[str, Any]:
        """Send a webhook again, with the same bytes; return the webhook."""
        return await self._call("POST", f"webhooks/{webhook}/send")

    async def pass_time(self, seconds: float) -> dict[str, Any]:
        """Let time pass for the emulator; return the counts."""
        return await self._call("POST", "time", seconds=seconds)

    async def fund(self, amount: int | str, currency: str) -> dict[str, Any]:
        """Add money to a wallet: minor units, or a text in major units; return the settings."""
        return await self._call("POST", "wallets", amount=amount, currency=currency)

    async def set_faults(self, *faults: dict[str, Any], seed: int = 0) -> dict[str, Any]:
        """Replace all faults; each has the fields of a ``[[fault]]`` table. Return the settings."""
        return await self._call("POST", "settings/faults", fault=list(faults), seed=seed)

    async def change_rules(self, **rules: Any) -> dict[str, Any]:  # noqa: ANN401 - a rule's value
        """Change rules, with the values of a configuration file; return the settings."""
        return await self._call("POST", "settings/rules", **rules)

    async def change_webhooks(self, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        """Change the ``url`` of webhooks, and their faults; return the settings."""
        return await self._call("POST", "settings/webhooks", **fields)

    async def show_values(self, *, shows: bool) -> dict[str, Any]:
        """Show numbers, names and accounts on the page and in answers, or mask them."""
        return await self._call("POST", "settings/values", shows=shows)

    async def reset(self) -> dict[str, Any]:
        """Forget sessions, money, requests and webhooks; return the counts."""
        return await self._call("POST", "reset")

    async def _act(self, id_: str, action: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        return await self._call("POST", f"sessions/{quote(id_, safe='')}/{action}", **fields)

    async def _call(self, method: str, path: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
        params, json = (fields, None) if method == "GET" else (None, fields)
        timeout = aiohttp.ClientTimeout(total=_RESPONSE_SECONDS)
        url = f"{self.url.rstrip('/')}/emulator/api/{path}"
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.request(method, url, params=params, json=json) as answer,
        ):
            if answer.ok:
                found: dict[str, Any] = await answer.json()
                return found
            status, text = answer.status, await answer.text()
            is_json = answer.content_type == "application/json"
            error: dict[str, str] = (await answer.json())["error"] if is_json else {"problem": text}
        if status == _BAD_REQUEST and "field" in error:
            raise InvalidRequest(error["field"], error["problem"])
        raise Misuse(f"the emulator answers HTTP {status}: {error['problem'].strip()}")
