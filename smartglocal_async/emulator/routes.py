"""Which calls there are and where; no I/O."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CREATE: Final = "session/create"
BANKS: Final = "fps/banks"
_BOTH: Final = (
    *(CREATE, "session/start/payout", "session/start/payment", "session/init/payout"),
    *("session/init/payment", "session/confirm", "session/cancel", "session/capture"),
    *("session/refund", "session/status", "fps/customer_verification"),
)
# The sister platform has these in v1 only, and so have the provider's pages.
_FIRST_ONLY: Final = ("wallet/balance", "token", "token/info", "recurrent/disable", BANKS)
OPERATIONS: Final = (*_BOTH, *_FIRST_ONLY)
_VERSIONS: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {f"/api/v{version}/{call}": (call, version) for version in (1, 2) for call in _BOTH}
    | {f"/api/v1/{call}": (call, 1) for call in _FIRST_ONLY}
)


def route(path: str) -> tuple[str, int] | None:
    """Give the call at a path and its version."""
    return _VERSIONS.get(path)


def method(call: str) -> str:
    """Give a call's HTTP method: POST (documented), but for one that third-party code gets."""
    return "GET" if call == BANKS else "POST"
