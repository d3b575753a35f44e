"""The page over HTTP: what each address shows, and the changes."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from attrs import Factory, define, field, frozen

from ....encryption import RequestCipher
from ....errors import (
    InProgress,
    InvalidRequest,
    JournalBusy,
    JournalUnusable,
    LostLease,
    Misuse,
    PayoutsHalted,
    SmartGlocalError,
)
from ....journal.entries import WORKABLE, Entry
from ....journal.limits import Limits
from ....journal.postgres.journal import PostgresJournal
from ....journal.states import Step
from ....models.validators import above_zero
from ....pages import environment, new_nonce
from ....pages.serving import html_response, page_headers, send_events
from ....payouts.orders import PayoutState
from ....payouts.payouts import Payouts
from ....payouts.reports.gathering import PayeeReader
from ....payouts.review import review_of
from ..journals import command_of
from .access import PageAccess
from .samples import JournalSampler
from .views import (
    EntryViews,
    action_view,
    batch_view,
    figures,
    history_view,
    link,
    may_decide,
    moment,
    payout_view,
    workers_view,
)

_PACKAGE: Final = "smartglocal_async.cli.payouts.page"
_ROWS: Final = 50
_SCANNED_PAGE: Final = 500
_MAX_SCANNED: Final = 3_000
"""How many payouts one request looks at: decrypting their payees takes most of its time."""
_MAX_BATCHES: Final = 50
_MAX_ACTIONS: Final = 10
_MAX_BODY: Final = 16_384
_MAX_FIELDS: Final = 20
_ANSWER_SECONDS: Final = 5.0
"""How long a page waits for the journal, also for a database that is there and answers nothing."""
_NO_ANSWER: Final = (
    f"the journal can't be reached: it didn't answer within {_ANSWER_SECONDS:g} seconds; its "
    "database may be down, or busy"
)
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_REASON: Final = 500
_NO_NUL: Final = "the journal has nothing with a NUL character in its name"
_DECISIONS: Final = frozenset({"paid", "not-paid"})
_ACTIONS: Final = _DECISIONS | {"pause", "resume", "cancel", "limits"}
_FILTERS: Final[Mapping[str, tuple[str, frozenset[Step]]]] = {
    "succeeded": ("Paid", frozenset({Step.SUCCEEDED})),
    "failed": ("Failed", frozenset({Step.FAILED})),
    "cancelled": ("Cancelled", frozenset({Step.CANCELLED})),
    "unknown": ("Unknown", frozenset({Step.UNKNOWN})),
    "open": ("Open", WORKABLE),
}
# The events have no end; and a change that has begun isn't given up.
_WITHOUT_LIMIT: Final = ("/events", "/change")
_WITHOUT_EVENTS: Final = ("sign_in", "problem")
_CONFLICTS: Final = (InProgress, LostLease, JournalBusy, PayoutsHalted, Misuse)


class Refusal(Exception):
    """Why a request gets no page, in words, with the status of HTTP."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


@frozen
class Listing:
    """A page of payouts."""

    entries: list[Entry]
    after: str | None
    """The key after which the next page begins; None at the end."""
    scanned: int | None = None
    """How many payouts were looked at, if not all of the rest were."""
    missing: str | None = None
    """Of how many of them the payee isn't known, and why."""


@frozen
class _Change:
    """A change of a batch or a payout, as a form asks for it."""

    action: str
    batch: str
    key: str
    reason: str

    def check(self) -> None:
        """Refuse an unknown change, a reason that can't be stored, and a decision without one."""
        if self.action not in _ACTIONS:
            raise Refusal(400, "there is no such change: choose one of those on the page")
        if len(self.reason) > _MAX_REASON or not self.reason.isprintable():
            raise Refusal(
                400, f"reason: expected up to {_MAX_REASON} characters, without control characters"
            )
        if "\0" in self.batch + self.key:
            raise Refusal(404, _NO_NUL)
        if self.action in _DECISIONS and not self.reason:
            raise Refusal(400, "write how you know it")


@define(eq=False, kw_only=True)
class PageServer:
    """Answers the requests of browsers."""

    sampler: JournalSampler
    access: PageAccess
    operator: str
    journal: str
    """Its name, without a password."""
    cipher: RequestCipher | None
    warning: str | None
    """What is wrong with the settings of the page, if it can be served all the same."""
    changing: Callable[[], AbstractAsyncContextManager[Payouts]]
    """Opens the payouts of the journal for a change."""
    _views: EntryViews = field(
        default=Factory(lambda self: EntryViews(self.cipher), takes_self=True), init=False
    )
    _changes: set["asyncio.Future[None]"] = field(factory=set["asyncio.Future[None]"], init=False)
    """Those that are being made."""
    _templates: Any = field(factory=lambda: environment(_PACKAGE, "the page", "pages"), init=False)

    def application(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard], client_max_size=_MAX_BODY)
        _ = app.add_routes(
            [
                web.get("/", self._overview),
                web.get("/batch", self._batch),
                web.get("/payouts", self._payouts),
                web.get("/payout", self._payout),
                web.get("/search", self._search),
                web.get("/events", self._events, allow_head=False),
                web.get("/sign-in", self._sign_in_page),
                web.post("/sign-in", self._sign_in),
                web.post("/change", self._change),
            ]
        )
        return app

    # --- Each request --------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse what may not be answered, and show errors as pages."""
        problem = self.access.why_refused(request)
        if problem is not None:
            return web.Response(status=403, text=f"{problem}\n", headers=page_headers())
        try:
            is_open = request.path == "/sign-in" or not self.access.needs_token
            if not (is_open or self.access.is_signed_in(request)):
                return self._show(request, "sign_in", {"failed": False}, status=401)
            # Nothing in a journal has a NUL, and PostgreSQL can't compare it.
            if any("\0" in value for value in request.query.values()):
                return self._problem(request, 404, _NO_NUL)
            return await _in_time(request, handler)
        except Refusal as refusal:
            return self._problem(request, refusal.status, refusal.words)
        except web.HTTPException as error:
            response = self._problem(request, error.status, error.reason)
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except SmartGlocalError as error:
            status = 409 if isinstance(error, _CONFLICTS) else 503
            return self._problem(request, status, _words(error))

    def _problem(self, request: web.Request, status: int, words: str) -> web.Response:
        return self._show(request, "problem", {"words": words}, status=status)

    def _show(
        self, request: web.Request, template: str, values: Mapping[str, Any], status: int = 200
    ) -> web.Response:
        nonce, signed_in = new_nonce(), self.access.is_signed_in(request)
        may_read = signed_in or not self.access.needs_token
        text: str = self._templates.get_template(f"templates/{template}.html.j2").render(
            nonce=nonce,
            events="/events" if template not in _WITHOUT_EVENTS else None,
            journal=self.journal,
            allows_changes=self.access.allows_changes,
            uses_token=self.access.uses_token,
            signed_in=signed_in,
            operator=self.operator,
            unreadable=self.sampler.problem if may_read else None,
            warning=self.warning if may_read else None,
            query=request.query.get("q", ""),
            **values,
        )
        return html_response(text, nonce, status)

    # --- What is shown -------------------------------------------------------------------------

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        sample = self.sampler.sample
        return self._show(
            request,
            "overview",
            {
                "at": moment(sample.at.timestamp()),
                "halt": None if sample.halt is None else sample.halt.reason,
                "figures": figures(sample.counts),
                "batches": [batch_view(one, self.journal) for one in sample.batches[:_MAX_BATCHES]],
                "more_batches": max(0, len(sample.batches) - _MAX_BATCHES),
                "cases": [self._views.case(one) for one in sample.cases],
                "case_count": sample.case_count,
                "workers": workers_view(sample),
                "actions": [action_view(one) for one in sample.actions[:_MAX_ACTIONS]],
            },
        )

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        name, sample = request.query.get("name", ""), self.sampler.sample
        found = sample.batch(name)
        if found is None:
            raise Refusal(404, f"the journal has no batch {name!r}")
        return self._show(
            request,
            "batch",
            {
                "at": moment(sample.at.timestamp()),
                "halt": None if sample.halt is None else sample.halt.reason,
                "batch": batch_view(found, self.journal),
                "actions": [action_view(one) for one in sample.actions if one.batch == found.name][
                    :_MAX_ACTIONS
                ],
                **await self._listed(request, "/batch", name),
            },
        )

    async def _payouts(self, request: web.Request) -> web.StreamResponse:
        batch = request.query.get("batch") or None
        return self._show(request, "payouts", await self._listed(request, "/payouts", batch))

    async def _listed(self, request: web.Request, path: str, batch: str | None) -> dict[str, Any]:
        """Return the page of payouts that a request asks for."""
        await self.sampler.check_journal()
        given = request.query
        state, payee, after = given.get("state"), given.get("payee") or None, given.get("after")
        state = state if state in _FILTERS else None
        found = await self._listing(batch, state, payee, after)
        own = {"name" if path == "/batch" else "batch": batch, "payee": payee}
        return {
            "rows": [self._views.row(entry) for entry in found.entries],
            "missing": found.missing,
            "has_payees": self.cipher is not None,
            "payee": payee,
            "is_first": after is None,
            "first": link(path, state=state, **own),
            "next": None
            if found.after is None
            else link(path, state=state, after=found.after, **own),
            "scanned": None if found.scanned is None else f"{found.scanned:,}",
            "filters": [
                {"label": "All", "link": link(path, **own), "is_on": state is None},
                *(
                    {"label": label, "link": link(path, state=name, **own), "is_on": name == state}
                    for name, (label, _) in _FILTERS.items()
                ),
            ],
        }

    async def _listing(
        self, batch: str | None, state: str | None, payee: str | None, after: str | None
    ) -> Listing:
        """Return a page of payouts: by an index, or by looking at some of those that follow."""
        book = self.sampler.book
        steps = frozenset(Step) if state is None else _FILTERS[state][1]
        if payee is None and state != PayoutState.SUCCEEDED.value:
            entries = await book.entries(_ROWS + 1, after=after, steps=steps, batch=batch)
            shown = list(entries[:_ROWS])
            return Listing(shown, shown[-1].key if len(entries) > _ROWS else None)
        found, scanned, reader = list[Entry](), 0, PayeeReader(self.cipher)
        while scanned < _MAX_SCANNED:
            entries = await book.entries(_SCANNED_PAGE, after=after, batch=batch)
            for entry in entries:
                after, scanned = entry.key, scanned + 1
                if entry.step in steps and (
                    payee is None or self._views.matches(entry, payee, reader)
                ):
                    found.append(entry)
                if len(found) == _ROWS:
                    return Listing(found, after, missing=reader.note)
            if len(entries) < _SCANNED_PAGE:
                return Listing(found, None, missing=reader.note)
        return Listing(found, after, scanned, reader.note)

    async def _payout(self, request: web.Request) -> web.StreamResponse:
        book, key = self.sampler.book, request.query.get("key", "")
        entry = await self._found(key)
        case = await review_of(book, entry, self.sampler.timing.now())
        history = await book.history(key)
        return self._show(
            request,
            "payout",
            {
                "payout": payout_view(entry, case, self._views),
                "history": history_view(history),
                "actions": [
                    action_view(one) for one in self.sampler.sample.actions if one.key == key
                ],
            },
        )

    async def _found(self, key: str) -> Entry:
        """Return the entry of a key, or refuse."""
        await self.sampler.check_journal()
        entry = await self.sampler.book.find(key)
        if entry is None:
            raise Refusal(404, f"the journal has no payout with the key {key!r}")
        return entry

    async def _search(self, request: web.Request) -> web.StreamResponse:
        """Find a payout by key or session; otherwise search the payees."""
        text, book = request.query.get("q", "").strip(), self.sampler.book
        if not text:
            return _moved("/")
        await self.sampler.check_journal()
        entry = await book.find(text) or await book.by_session(text)
        if entry is not None:
            return _moved(link("/payout", key=entry.key))
        if self.sampler.sample.batch(text) is not None:
            return _moved(link("/batch", name=text))
        if self.cipher is None:
            raise Refusal(
                404,
                f"no payout has the key or the session {text!r}. Payees are searched, too, if the "
                "page is started with SMARTGLOCAL_JOURNAL_KEY",
            )
        return _moved(link("/payouts", payee=text, q=text))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await send_events(request, self.sampler.next_change)

    # --- Changes -------------------------------------------------------------------------------

    async def _sign_in_page(self, request: web.Request) -> web.StreamResponse:
        return self._show(request, "sign_in", {"failed": "failed" in request.query})

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        given = await _form_of(request)
        # The script keeps the secret where only pages of this origin can read it; a cookie, and
        # what can be read with it, is known to every port of the host.
        is_script = request.headers.get("Accept") == "application/json"
        response = web.Response(headers=page_headers()) if is_script else _moved("/")
        secret = self.access.sign_in(_text(given, "token"), response)
        if secret is None:
            return self._show(request, "sign_in", {"failed": True}, status=401)
        if is_script:
            response.content_type, response.text = "application/json", json.dumps(secret)
        return response

    async def _change(self, request: web.Request) -> web.StreamResponse:
        """Make a change, and lead to the page that shows it."""
        if not self.access.allows_changes:
            raise Refusal(403, "this page was started without --allow-changes")
        if not self.access.is_signed_in(request):
            raise Refusal(401, "sign in with the token that was printed when this page was started")
        given = await _form_of(request)
        if not self.access.may_change(request, _text(given, "secret")):
            raise Refusal(
                403, "sign in again in this browser, with JavaScript, to change something"
            )
        change = _Change(*(_text(given, name) for name in ("change", "batch", "key", "reason")))
        change.check()
        await self._check_journal()
        if change.action == "limits":
            await self._set_limits(_text(given, "rate"), _text(given, "concurrency"))
        else:
            # A browser that leaves in the middle must not end it.
            made = asyncio.ensure_future(self._make(change))
            self._changes.add(made)
            made.add_done_callback(self._changes.discard)
            await asyncio.shield(made)
        with suppress(TimeoutError):  # It is made; what is shown follows.
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.sampler.reread()
        if change.key:
            return _moved(link("/payout", key=change.key))
        return _moved(link("/batch", name=change.batch) if change.batch else "/")

    async def _make(self, change: "_Change") -> None:
        reason, operator = change.reason or f"by {self.operator}", self.operator
        async with self.changing() as payouts:
            await self._check_journal()
            match change.action:
                case "pause":
                    _ = await payouts.pause_batch(change.batch, reason=reason, operator=operator)
                case "resume":
                    _ = await payouts.resume_batch(change.batch, operator=operator)
                case "cancel":
                    _ = await payouts.cancel_batch(change.batch, reason=reason, operator=operator)
                case _:
                    await self._check_review(change.key)
                    is_paid = change.action == "paid"
                    _ = await payouts.decide(
                        change.key, is_paid=is_paid, reason=reason, operator=operator
                    )

    async def _check_journal(self) -> None:
        """Refuse a change of another journal than the one that is shown."""
        try:
            self.sampler.check_file()
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.sampler.check_journal()
        except JournalUnusable as error:
            raise Refusal(409, str(error)) from None
        except TimeoutError:
            raise Refusal(503, _NO_ANSWER) from None

    async def _check_review(self, key: str) -> None:
        """Refuse a decision about a payout that needs no review."""
        entry = await self._found(key)
        case = await review_of(self.sampler.book, entry, self.sampler.timing.now())
        if not may_decide(case):
            raise Refusal(
                409,
                f"the payout {key!r} is at {entry.step.name}, and needs no review: only one that "
                "does can be decided",
            )

    async def _set_limits(self, rate: str, concurrency: str) -> None:
        journal = self.sampler.book
        if not isinstance(journal, PostgresJournal):
            raise Refusal(400, "a journal in a file has no limits of workers")
        limits = Limits(
            rate=_number("rate", rate, float), concurrency=_number("concurrency", concurrency, int)
        )
        await journal.set_limits(limits, operator=self.operator)


async def _in_time(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Return what the handler returns, or refuse if the journal doesn't answer in time."""
    if request.path in _WITHOUT_LIMIT:
        return await handler(request)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await handler(request)
    except TimeoutError:
        raise Refusal(503, _NO_ANSWER) from None


async def _form_of(request: web.Request) -> Mapping[str, str]:
    """Return the fields of a form as the page itself sends it: URL-encoded, in UTF-8."""
    if request.content_type != _FORM:
        raise Refusal(415, f"expected a form as {_FORM}")
    body = await request.read()
    try:
        fields = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise Refusal(400, "the form isn't UTF-8, or has too many fields") from None
    return dict(fields)


def _text(given: Mapping[str, str], name: str) -> str:
    return given.get(name, "").strip()


N = TypeVar("N", int, float)


def _number(name: str, text: str, kind: Callable[[str], N]) -> N | None:
    """Return a number above zero; None if the field is empty."""
    if not text:
        return None
    try:
        number = kind(text)
        above_zero(name, number)
    except (ValueError, InvalidRequest):
        raise Refusal(400, f"{name}: expected a number above zero, or nothing") from None
    return number


def _moved(to: str) -> web.Response:
    """Return a response that leads to another address of the page."""
    return web.Response(status=303, headers={**page_headers(), "Location": to})


def _words(error: SmartGlocalError) -> str:
    if isinstance(error, JournalBusy):
        command = command_of(error.pid)
        words = f"process {error.pid}{f' ({command})' if command else ''}"
        return (
            f"{words} has the journal's file open, and only one may write to it. Stop it first: "
            "after the first Ctrl-C it finishes what is in progress"
        )
    return str(error)
