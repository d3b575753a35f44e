"""The admin API under ``/emulator/api/``, and the forms of the page, which use the same addresses.

A program sends and receives JSON. A form of the page is answered with a redirect back to it.
"""

import asyncio
import enum
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, get_args, get_origin
from urllib.parse import parse_qsl

import attrs
from aiohttp import web
from attrs import define, field, frozen

from ....errors import InvalidRequest
from ....models.money import AmountDetails
from ....pages.serving import (
    names_this_machine,
    page_headers,
    send_events,
    why_refused,
)
from ...bank.validation import JsonObject, is_object
from ...bank.webhooks import WebhookScript
from ...faults import Fault, FaultScript
from ...settings import Rules
from ...toml_tables import check_keys, value_of
from .actions import SESSION_ACTIONS, AdminActions
from .page import AdminPage
from .views import DEFAULT_LIMIT, MAX_LIMIT, AdminViews, ListQuery

PATH: Final = "/emulator/"
API: Final = "/emulator/api/"
_EVENTS: Final = "/emulator/events"
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_BYTES: Final = 1_048_576
_MAX_OFFSET: Final = 10**9
_FORBIDDEN: Final = 403
_MISDIRECTED: Final = 421
_POLL_SECONDS: Final = 0.2

_GROUPED: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
"""An amount as the page shows it, such as 1,000.50."""

Fields: TypeAlias = Mapping[str, object]


class HttpProblem(Exception):
    """An answer that isn't 2xx."""

    def __init__(
        self, status: int, problem: str, field: str | None = None, *, allowed: str | None = None
    ) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem
        self.field = field
        self.allowed = allowed
        """The methods that the address has, for the header Allow."""


@frozen
class _Route:
    method: str
    pattern: re.Pattern[str]
    answer: Callable[["AdminApi", list[str], Fields], JsonObject]


@define(eq=False)
class AdminApi:
    """Answers the page and the API of an emulator."""

    actions: AdminActions
    page: AdminPage = field(factory=AdminPage, init=False)

    @property
    def views(self) -> AdminViews:
        """What shows the emulator; hold the dispatcher's lock."""
        return AdminViews(self.actions.dispatcher, self.actions.shows_values)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """Return the answer to a request of the page or the API; None if it is for neither."""
        is_api = request.path.startswith(API)
        if not (is_api or request.path == _EVENTS or self.page.has(request.path)):
            return None
        is_named = names_this_machine(request)
        refusal = why_refused(request) if is_named else "open this page as localhost or 127.0.0.1"
        if refusal is not None:
            return web.Response(
                status=_FORBIDDEN if is_named else _MISDIRECTED,
                text=f"{refusal}\n",
                headers=page_headers(),
            )
        if request.path == _EVENTS:
            return await self._events(request)
        if not is_api:
            return self._page(request)
        try:
            fields, next_page = await _fields_of(request)
        except HttpProblem as problem:
            return _problem(problem)
        try:
            found = self._call(request.method, request.path.removeprefix(API), fields)
        except HttpProblem as problem:
            return _problem(problem) if next_page is None else self.page.problem(problem.problem)
        if next_page is not None:
            headers = {**page_headers(), "Location": next_page}
            return web.Response(status=303, headers=headers)
        return web.json_response(found, headers=page_headers())

    def _page(self, request: web.BaseRequest) -> web.Response:
        if request.method != "GET":
            return _problem(HttpProblem(405, "this page is read with GET", allowed="GET"))
        try:
            query = _query(dict(request.query))
            with self.actions.dispatcher.lock:
                _ = self.actions.dispatcher.advance()
                names = self.page.names(request.path, self.views, query)
        except (HttpProblem, InvalidRequest) as problem:
            return self.page.problem(f"{problem.field}: {problem.problem}")
        self.actions.wake_delivery()
        return self.page.response(request.path_qs, names)

    def _call(self, method: str, path: str, fields: Fields) -> JsonObject:
        """Carry out a call.

        Raises:
            HttpProblem: there is no such call, or a field is wrong, or it can't be done now.

        """
        known = [(route, found) for route in _ROUTES if (found := route.pattern.fullmatch(path))]
        if not known:
            raise HttpProblem(404, "there is no such address")
        for route, found in known:
            if route.method == method:
                try:
                    return route.answer(self, list(found.groups()), fields)
                except InvalidRequest as error:
                    raise HttpProblem(400, error.problem, error.field) from None
        methods = [route.method for route, _ in known]
        raise HttpProblem(405, f"use {' or '.join(methods)}", allowed=", ".join(methods))

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "GET":
            return _problem(HttpProblem(405, "this stream is read with GET", allowed="GET"))
        last = self.actions.version()

        async def next_event() -> str:
            nonlocal last
            # The clock decides what is due, so that the emulator is looked at, and not waited for.
            while (version := self.actions.version()) == last:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
            last = version
            return "changed"

        return await send_events(request, next_event)

    def read(self, view: Callable[[AdminViews], JsonObject | None]) -> JsonObject:
        """Return a view of the emulator, after doing what is due by its clock.

        Raises:
            HttpProblem: there is no such thing.

        """
        with self.actions.dispatcher.lock:
            _ = self.actions.dispatcher.advance()
            found = view(self.views)
        self.actions.wake_delivery()
        if found is None:
            raise HttpProblem(404, "there is no such entry, or it isn't kept any more")
        return found

    def get_sessions(self, _: list[str], fields: Fields) -> JsonObject:
        """Return a page of the sessions."""
        return self.read(lambda views: views.sessions(_query(fields)))

    def get_session(self, ids: list[str], _: Fields) -> JsonObject:
        """Return a session."""
        return self.read(lambda views: views.session(ids[0]))

    def act(self, ids: list[str], fields: Fields) -> JsonObject:
        """Do something to a session, and return it as it is then."""
        check_keys(fields, ("code",) if ids[1] == "decline" else ())
        if ids[1] == "decline" and fields.get("code"):
            self.actions.decline(ids[0], value_of(str, "code", fields["code"]))
        else:
            SESSION_ACTIONS[ids[1]](self.actions, ids[0])
        return self.get_session(ids, {})

    def get_requests(self, _: list[str], fields: Fields) -> JsonObject:
        """Return a page of the requests."""
        return self.read(lambda views: views.requests(_query(fields)))

    def get_request(self, ids: list[str], _: Fields) -> JsonObject:
        """Return a request."""
        return self.read(lambda views: views.request(int(ids[0])))

    def get_webhooks(self, _: list[str], fields: Fields) -> JsonObject:
        """Return a page of the webhooks."""
        return self.read(lambda views: views.webhooks(_query(fields)))

    def get_webhook(self, ids: list[str], _: Fields) -> JsonObject:
        """Return a webhook."""
        return self.read(lambda views: views.webhook(int(ids[0])))

    def send_again(self, ids: list[str], fields: Fields) -> JsonObject:
        """Send a webhook again, and return it."""
        check_keys(fields, ())
        self.actions.send_again(int(ids[0]))
        return self.get_webhook(ids, {})

    def get_overview(self, _: list[str], __: Fields) -> JsonObject:
        """Return the counts."""
        return self.read(lambda views: views.overview())

    def get_settings(self, _: list[str], __: Fields) -> JsonObject:
        """Return the settings."""
        return self.read(lambda views: views.settings())

    def pass_time(self, _: list[str], fields: Fields) -> JsonObject:
        """Let time pass, and return the counts."""
        check_keys(fields, ("seconds",))
        self.actions.pass_time(value_of(float, "seconds", _needed(fields, "seconds")))
        return self.get_overview([], {})

    def fund(self, _: list[str], fields: Fields) -> JsonObject:
        """Add money to a wallet, in minor units, or in major ones as a text, and return all."""
        check_keys(fields, ("amount", "currency"))
        currency = value_of(str, "currency", _needed(fields, "currency"))
        amount = _needed(fields, "amount")
        if isinstance(amount, str):
            if _GROUPED.fullmatch(amount):
                amount = amount.replace(",", "")
            amount = AmountDetails.of(amount, currency).amount
        added = AmountDetails(value_of(int, "amount", amount), currency)
        self.actions.top_up(added.amount, added.currency)
        return self.get_settings([], {})

    def set_faults(self, __: list[str], fields: Fields) -> JsonObject:
        """Replace the faults, and return the settings."""
        check_keys(fields, ("seed", "fault"))
        seed = value_of(int, "seed", fields.get("seed", 0))
        script = FaultScript.from_entries(fields.get("fault", []), seed)
        _ = self.actions.replace_faults(script)
        return self.get_settings([], {})

    def add_fault(self, _: list[str], fields: Fields) -> JsonObject:
        """Add a fault, and return the settings."""
        [fault] = FaultScript.from_entries([dict(fields)]).faults
        self.actions.add_fault(fault)
        return self.get_settings([], {})

    def remove_fault(self, ids: list[str], fields: Fields) -> JsonObject:
        """Remove a fault, and return the settings."""
        check_keys(fields, ())
        self.actions.remove_fault(int(ids[0]))
        return self.get_settings([], {})

    def change_rules(self, _: list[str], fields: Fields) -> JsonObject:
        """Change rules, and return the settings."""
        self.actions.change_rules(fields)
        return self.get_settings([], {})

    def change_webhooks(self, _: list[str], fields: Fields) -> JsonObject:
        """Change where webhooks are sent, and their faults, and return the settings."""
        self.actions.change_webhooks(fields)
        return self.get_settings([], {})

    def show_values(self, _: list[str], fields: Fields) -> JsonObject:
        """Show or mask values, and return the counts."""
        check_keys(fields, ("shows",))
        self.actions.show_values(shows=value_of(bool, "shows", _needed(fields, "shows")))
        return self.get_overview([], {})

    def reset(self, _: list[str], fields: Fields) -> JsonObject:
        """Forget what happened, and return the counts."""
        check_keys(fields, ())
        self.actions.reset()
        return self.get_overview([], {})


def _route(method: str, pattern: str, answer: Callable[..., JsonObject]) -> _Route:
    return _Route(method, re.compile(pattern), answer)


_ROUTES: Final = (
    _route("GET", "overview", AdminApi.get_overview),
    _route("GET", "sessions", AdminApi.get_sessions),
    _route("GET", "sessions/([^/]+)", AdminApi.get_session),
    _route("POST", f"sessions/([^/]+)/({'|'.join(SESSION_ACTIONS)})", AdminApi.act),
    _route("GET", "requests", AdminApi.get_requests),
    _route("GET", "requests/([0-9]{1,15})", AdminApi.get_request),
    _route("GET", "webhooks", AdminApi.get_webhooks),
    _route("GET", "webhooks/([0-9]{1,15})", AdminApi.get_webhook),
    _route("POST", "webhooks/([0-9]{1,15})/send", AdminApi.send_again),
    _route("GET", "settings", AdminApi.get_settings),
    _route("POST", "settings/faults", AdminApi.set_faults),
    _route("POST", "settings/faults/add", AdminApi.add_fault),
    _route("POST", "settings/faults/([0-9]{1,6})/remove", AdminApi.remove_fault),
    _route("POST", "settings/rules", AdminApi.change_rules),
    _route("POST", "settings/webhooks", AdminApi.change_webhooks),
    _route("POST", "settings/values", AdminApi.show_values),
    _route("POST", "time", AdminApi.pass_time),
    _route("POST", "wallets", AdminApi.fund),
    _route("POST", "reset", AdminApi.reset),
)
_FORM_RECORDS: Final[Mapping[str, type[Any]]] = {
    "settings/faults/add": Fault,
    "settings/rules": Rules,
    "settings/webhooks": WebhookScript,
}


async def _fields_of(request: web.BaseRequest) -> tuple[Fields, str | None]:
    """Return the fields of a call, and for a form of the page the address to return to.

    Raises:
        HttpProblem: the body is too long, or neither JSON nor a form.

    """
    if request.method == "GET":
        return dict(request.query), None
    body = await request.content.read(_MAX_BYTES + 1)
    while len(body) <= _MAX_BYTES and (more := await request.content.read(_MAX_BYTES)):
        body += more
    if len(body) > _MAX_BYTES:
        raise HttpProblem(413, "the body is longer than 1 MiB")
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        return _form_fields(request.path.removeprefix(API), body)
    if kind != _JSON and body:
        raise HttpProblem(415, f"the body must be {_JSON}")
    try:
        fields: object = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise HttpProblem(400, "the body isn't JSON") from None
    if not is_object(fields):
        raise HttpProblem(400, "the body must be a JSON object")
    return fields, None


def _form_fields(path: str, body: bytes) -> tuple[Fields, str]:
    """Return the fields of a form, typed as those of its record, and the page that it is on."""
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    page = form.pop("page", PATH)
    if _OWN_PAGE.fullmatch(page) is None:
        page = PATH
    record = _FORM_RECORDS.get(path)
    types = {one.name: one.type for one in attrs.fields(record)} if record else _FORM_TYPES
    return {
        name: _typed(types.get(name, str), text)
        for name, text in form.items()
        if text or name in _MAY_BE_EMPTY
    }, page


# A path and query in printable ASCII: nothing else fits into the header of the redirect.
_OWN_PAGE: Final = re.compile(f"{PATH}[!-~]*")
_FORM_TYPES: Final[Mapping[str, Any]] = {"seconds": float, "shows": bool}
_MAY_BE_EMPTY: Final = frozenset({"url", "converts_to"})


def _typed(kind: Any, text: str) -> object:  # noqa: ANN401 - what a field's type is
    """Return the text of a form as JSON has the value of a field of that type."""
    if kind is str or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return text
    if str in get_args(kind):
        return text or None
    try:
        value: object = json.loads(f"[{text}]" if get_origin(kind) is tuple else text)
    except (ValueError, RecursionError):
        return text  # Its type is wrong, which is what the error says then.
    return value


def _query(fields: Fields) -> ListQuery:
    """Return which entries of a list to show.

    Raises:
        HttpProblem: a number is out of its range.

    """
    offset = _number_of(fields, "offset", 0, range(_MAX_OFFSET + 1))
    limit = _number_of(fields, "limit", DEFAULT_LIMIT, range(1, MAX_LIMIT + 1))
    text, only, session = (str(fields.get(name, "")) for name in ("text", "only", "session"))
    return ListQuery(offset=offset, limit=limit, text=text, only=only, session=session)


def _number_of(fields: Fields, name: str, default: int, numbers: range) -> int:
    try:
        number = int(str(fields.get(name, default)))
    except ValueError:
        raise HttpProblem(400, "must be a whole number", name) from None
    if number not in numbers:
        raise HttpProblem(400, f"must be from {numbers.start} to {numbers.stop - 1}", name)
    return number


def _needed(fields: Fields, name: str) -> object:
    if name not in fields:
        raise InvalidRequest(name, "is missing")
    return fields[name]


def _problem(problem: HttpProblem) -> web.Response:
    shown = {"field": problem.field, "problem": problem.problem}
    body = {"error": {name: value for name, value in shown.items() if value is not None}}
    allowed = {} if problem.allowed is None else {"Allow": problem.allowed}
    return web.json_response(body, status=problem.status, headers={**page_headers(), **allowed})
