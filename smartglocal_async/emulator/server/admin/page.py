"""The page of the emulator: which template shows which view, and the words for states."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import cached_property, partial
from typing import Any, Final, get_origin
from urllib.parse import urlencode

import attrs
from aiohttp import web
from attrs import define, field

from ....errors import Misuse
from ....pages import environment, new_nonce
from ....pages.serving import html_response, page_headers
from ...bank.messages import OPERATIONS
from ...bank.validation import JsonObject, is_object
from ...bank.webhooks import WebhookScript
from ...faults import FaultKind
from ...settings import Rules
from ..pages import NOTICE
from .actions import FIXED_RULES
from .views import (
    REQUEST_CHOICES,
    SESSION_CHOICES,
    WEBHOOK_CHOICES,
    AdminViews,
    ListQuery,
)

_PACKAGE: Final = "smartglocal_async.emulator.server.admin"
_EVENTS: Final = "/emulator/events"
_NOT_IMPLEMENTED: Final = 501
_NOT_FOUND: Final = 404
_BAD_REQUEST: Final = 400

# The words for a stage of an item, or for what happened to its money, and the colour.
STAGES: Final[Mapping[str, tuple[str, str]]] = {
    "created": ("Created", "cancelled"),
    "started": ("Started", "open"),
    "ready": ("Waits for confirm", "open"),
    "confirmed": ("Confirmed", "open"),
    "acting": ("Waits for payer", "unknown"),
    "held": ("Held", "open"),
    "capturing": ("Capturing", "open"),
    "cancelling": ("Cancelling", "open"),
    "stuck": ("Stuck", "unknown"),
    "broken": ("Error, not final", "unknown"),
    "succeeded": ("Succeeded", "succeeded"),
    "declined": ("Declined", "failed"),
    "cancelled": ("Cancelled", "cancelled"),
    "expired": ("Expired", "failed"),
    "released": ("Released", "cancelled"),
    "abandoned": ("Payer didn't act", "failed"),
    "refund": ("Refunded", "unknown"),
    "chargeback": ("Charged back", "failed"),
    "return": ("Returned", "failed"),
}
_VERDICTS: Final[Mapping[str, tuple[str, str]]] = {
    "valid": ("Valid", "succeeded"),
    "wrong": ("Wrong", "failed"),
    "missing": ("Missing", "failed"),
    "unchecked": ("Not checked", "unknown"),
}
_HEADINGS: Final[Mapping[str, str]] = {
    "valid": "Valid signature",
    "missing": "No signature",
    "unchecked": "The signature wasn't checked",
    "not base64": "Wrong signature: no Base64",
    "other encoding": "Wrong encoding of the signature",
    "other key": "Wrong signature: another key",
    "other hash": "Wrong signature: another hash",
    "other bytes": "Wrong signature: other bytes were signed",
}
_WEBHOOK_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "waiting": ("Waiting", "open"),
    "delivered": ("Delivered", "succeeded"),
    "given up": ("Given up", "failed"),
    "lost": ("Lost", "unknown"),
    "no address": ("No address", "cancelled"),
}
# What usually follows a stage of a payout or payment that is under way.
_REST: Final[Mapping[str, tuple[str, ...]]] = {
    "created": ("started", "ready", "confirmed", "succeeded"),
    "started": ("ready", "confirmed", "succeeded"),
    "ready": ("confirmed", "succeeded"),
    "confirmed": ("succeeded",),
    "acting": ("confirmed", "succeeded"),
    "held": ("capturing", "succeeded"),
    "capturing": ("succeeded",),
    "cancelling": ("cancelled",),
}
_ACTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "confirm": ("Confirm", "The session is confirmed."),
    "succeed": ("Let it succeed", "It succeeds."),
    "decline": ("Decline", "It is declined, or will be once it is confirmed."),
    "cancel": ("Cancel", "The session is cancelled."),
    "chargeback": ("Charge back", "The payment is charged back."),
    "return": ("Return", "The payout is returned."),
}
_MAIN_RULES: Final = (
    *("confirmation", "processing_seconds", "latency_seconds", "duplicates", "capture"),
    *("idempotency_header", "webhook_version", "declined_session"),
)


@define(eq=False, slots=False)
class AdminPage:
    """Renders the page."""

    _today: str = field(default="", init=False)
    """The emulator's date on the page that is rendered."""

    def has(self, path: str) -> bool:
        """Whether a path is one of the page's."""
        return any(pattern.fullmatch(path) for pattern, _ in _PAGES)

    def names(self, path: str, views: AdminViews, query: ListQuery) -> JsonObject | None:
        """Return what a path's template shows; None if there is no such entry."""
        pattern, name = next((one, name) for one, name in _PAGES if one.fullmatch(path))
        found = pattern.fullmatch(path)
        shown = _VIEWS[name](views, query, found.group(1) if found and found.groups() else "")
        if shown is None:
            return None
        return {
            "name": name,
            "overview": views.overview(),
            "found": shown,
            "query": attrs.asdict(query),
            "address": path,
        }

    def response(self, address: str, names: JsonObject | None) -> web.Response:
        """Return a page; without Jinja2 a text with the command that installs it."""
        if names is None:
            return self.problem("There is no such entry, or it isn't kept any more.", _NOT_FOUND)
        return self._rendered(f"{names['name']}.html.j2", {**names, "page": address}, 200)

    def problem(self, words: str, status: int = _BAD_REQUEST) -> web.Response:
        """Return a page that says what is wrong."""
        return self._rendered("problem.html.j2", {"words": words, "overview": None}, status)

    def _rendered(self, template: str, names: JsonObject, status: int) -> web.Response:
        nonce = new_nonce()
        overview = names["overview"]
        self._today = _day(str(overview["time"])) if is_object(overview) else ""
        try:
            found = self._environment.get_template(f"templates/{template}")
        except Misuse as error:
            words = f"{error}\nThe API under /emulator/api/ works without it.\n"
            return web.Response(status=_NOT_IMPLEMENTED, text=words, headers=page_headers())
        text: str = found.render(names, nonce=nonce, events=_EVENTS)
        return html_response(text, nonce, status)

    def _clock(self, time: str) -> str:
        """Return an ISO time to the second: the time of day, after its date if it isn't today."""
        found = datetime.fromisoformat(time)
        is_today = _day(time) == self._today
        return f"{found:%H:%M:%S}" if is_today else f"{found:%Y-%m-%d %H:%M:%S}"

    @cached_property
    def _environment(self) -> Any:  # noqa: ANN401 - Jinja2 is optional
        made = environment(_PACKAGE, "the page of the emulator", "pages")
        made.filters |= {
            "clock": self._clock,
            "query": partial(urlencode, errors="backslashreplace"),
        }
        names: dict[str, Any] = {
            "notice": NOTICE,
            "stages": STAGES,
            "verdicts": _VERDICTS,
            "headings": _HEADINGS,
            "webhook_states": _WEBHOOK_STATES,
            "session_actions": _ACTIONS,
            "rest": _REST,
            "session_choices": SESSION_CHOICES,
            "request_choices": REQUEST_CHOICES,
            "webhook_choices": WEBHOOK_CHOICES,
            "fault_kinds": [kind.value for kind in FaultKind],
            "operations": OPERATIONS,
            "main_rules": [_input(Rules, name) for name in _MAIN_RULES],
            "other_rules": [
                _input(Rules, one.name)
                for one in attrs.fields(Rules)
                if one.name not in FIXED_RULES
                and one.name not in _MAIN_RULES
                and _input(Rules, one.name)["kind"] != "table"
            ],
            "webhook_fields": [
                _input(WebhookScript, one.name) for one in attrs.fields(WebhookScript)
            ],
        }
        made.globals.update(names)
        return made


_PAGES: Final = (
    (re.compile("/emulator/"), "sessions"),
    (re.compile("/emulator/sessions/([^/]+)"), "session"),
    (re.compile("/emulator/requests"), "requests"),
    (re.compile("/emulator/requests/([0-9]{1,15})"), "request"),
    (re.compile("/emulator/webhooks"), "webhooks"),
    (re.compile("/emulator/webhooks/([0-9]{1,15})"), "webhook"),
    (re.compile("/emulator/settings"), "settings"),
)
_VIEWS: Final[Mapping[str, Callable[[AdminViews, ListQuery, str], JsonObject | None]]] = {
    "sessions": lambda views, query, _: views.sessions(query),
    "session": lambda views, _, id_: views.session(id_),
    "requests": lambda views, query, _: views.requests(query),
    "request": lambda views, _, number: views.request(int(number)),
    "webhooks": lambda views, query, _: views.webhooks(query),
    "webhook": lambda views, _, number: views.webhook(int(number)),
    "settings": lambda views, _, __: views.settings(),
}


def _input(record: type[Any], name: str) -> JsonObject:
    """Return how a form shows a field of a record: its kind, and the choices of an enumeration."""
    found = getattr(attrs.fields(record), name)
    kind = found.type
    if kind is bool:
        return {"name": name, "kind": "choice", "choices": ["true", "false"]}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"name": name, "kind": "choice", "choices": [str(one.value) for one in kind]}
    if kind in {int, float}:
        return {"name": name, "kind": "number", "step": "1" if kind is int else "any"}
    return {"name": name, "kind": "table" if get_origin(kind) is Mapping else "text"}


def _day(time: str) -> str:
    """Return the date of an ISO time."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d}"
