"""What the commands of one call each do: the fields of their own options, the call, the answer."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast

import attrs
from attrs import evolve

from ...client import SmartGlocal
from ...codec import PAYOUT_INSTRUMENT, ApiVersion, Wire
from ...codec.instruments import wrapped
from ...errors import InvalidRequest, StillOpen
from ...models.answers import Session
from ...models.enums import SessionStatus
from ...models.instruments import EncryptedCard, FasterPaymentVerification, Recurrent
from ...operations import (
    OPERATIONS,
    SESSION_STATUS,
    HttpMethod,
    Repeat,
    free_operation,
    python_method,
)
from ...resources import is_settled
from ..errors import explained, version_in_use
from ..output import complain
from .commands import AnyCallOptions, WaitOptions
from .request import CommandRun, GivenFields, build_and_call, make_call, reported
from .views import (
    show_any,
    show_banks,
    show_exchange_rate,
    show_public_token,
    show_push,
    show_recurrent,
    show_session,
    show_token_info,
    show_wallets,
    steps_of,
)

Given: TypeAlias = Mapping[str, Any]
OwnFields: TypeAlias = dict[str, tuple[str, Any]]
"""Fields of a request that have an option of their own: path -> its name and value."""
_COMMON: Final = {field.name for field in attrs.fields(GivenFields)} - {"own"}
_RECIPIENT: Final = "participant_details.recipient"


def perform(method: str, given: Given) -> None:
    """Make the call of a method of the client, and print its answer."""
    with explained(as_json=given["as_json"]):
        run = CommandRun(given["as_json"])
        with reported(run):
            answer = _called(run, method, given)
            if method == "session.create":
                _report_earlier_call(given, answer)
            run.print_answer(answer, _VIEWS.get(method, show_session))


def _called(run: CommandRun, method: str, given: Given) -> Any:  # noqa: ANN401 - any answer
    operation = next(one for one in OPERATIONS if python_method(one) == method)
    called, deadline = attrgetter(method), given["deadline"]
    if not given.keys() - {"deadline", "as_json"}:  # A call without a request.
        return make_call(run, lambda api: called(api)(deadline=deadline))
    common = {name: value for name, value in given.items() if name in _COMMON}

    def call(api: SmartGlocal, request: Any, key: str | None) -> Any:  # noqa: ANN401 - any request
        keyed = {"key": key} if "key" in given else {}
        return called(api)(request, deadline=deadline, **keyed)

    return build_and_call(run, operation, GivenFields(**common, own=_own_fields(given)), call)


def _report_earlier_call(given: Given, answer: Session) -> None:
    if given["key"] is not None and answer.status != SessionStatus.CREATED:
        before = "the provider returned the session of an earlier call with this key"
        complain(f"{before}: {answer.id} is {answer.status!s}")


def _own_fields(given: Given) -> OwnFields:
    """Return the fields behind the options that only some commands have.

    Raises:
        InvalidRequest: options exclude each other, or one lacks another.

    """
    fields: OwnFields = {}
    if "session_id" in given:
        fields["session_id"] = ("SESSION_ID", given["session_id"])
    if "public_token" in given:
        return fields | described_token(given)
    if "customer" in given:
        return fields | _payer(given)
    if "card_token" in given:
        card = given["card_token"]
        fields[PAYOUT_INSTRUMENT[version_in_use()]] = ("--card-token", card and _card(card))
    if "tokenize" in given:
        fields |= _widget(given)
    if "token" in given:
        fields["recurrent.token"] = ("TOKEN", given["token"])
    if "phone" in given:
        fields |= _phone(given)
    return fields


def _payer(given: Given) -> OwnFields:
    card, token = given["card_token"], given["recurrent_token"]
    option, means = "--card-token", card and _card(card)
    if token is not None:
        if card is not None:
            raise InvalidRequest("--recurrent-token", "use it or --card-token, not both")
        option = "--recurrent-token"
        means = wrapped(Recurrent, {"token": token})
    customer = ("--customer", given["customer"])
    return {"payment_details": (option, means), "customer.reference": customer}


def described_token(given: Given) -> OwnFields:
    """Return the token to look up, as fields of the request.

    Raises:
        InvalidRequest: not exactly one is given.

    """
    card, public = given["card_token"], given["public_token"]
    recurrent = given["recurrent_token"]
    options = {
        "--card-token": ("card", card and _card(card)["card"]),
        "--public-token": ("public_token", public and {"token": public}),
        "--recurrent-token": ("recurrent_token", recurrent and {"token": recurrent}),
    }
    fields: OwnFields = {}
    for option in _at_most_one(given, {name: value for name, (_, value) in options.items()}):
        kind, value = options[option]
        fields |= {"type": (option, kind), kind: (option, value)}
    return fields


def _widget(given: Given) -> OwnFields:
    fields: OwnFields = {
        "tokenize_widget.access": ("--tokenize", given["tokenize"] or None),
        "acquiring_widget.session_id": ("--acquiring", given["acquiring"]),
        "fps_no_account_widget.session_id": ("--fps", given["fps"]),
    }
    if all(value is None for _, value in fields.values()) and not _has_others(given):
        options = ", ".join(option for option, _ in fields.values())
        raise InvalidRequest("--tokenize", f"use at least one of {options}")
    return fields


def _at_most_one(given: Given, options: Mapping[str, Any]) -> list[str]:
    """Return the option that has a value, of several that exclude each other.

    Raises:
        InvalidRequest: two have one, or none has and the request has no other source.

    """
    used = [option for option, value in options.items() if value is not None]
    if len(used) > 1 or not (used or _has_others(given)):
        name = used[1] if used else next(iter(options))
        raise InvalidRequest(name, f"use exactly one of {', '.join(options)}")
    return used


def _has_others(given: Given) -> bool:
    """Return whether the request has another source than its own options."""
    return any(given[name] for name in ("file", "fields", "json_fields"))


def _phone(given: Given) -> OwnFields:
    phone, bank_id = given["phone"], given["bank_id"]
    if (phone is None) != (bank_id is None):
        raise InvalidRequest("--phone", "--phone and --bank-id go together")
    fields = {"phone": phone, "bank_id": bank_id}
    wire = None if phone is None else wrapped(FasterPaymentVerification, fields)
    names = {
        f"{_RECIPIENT}.{name}": (f"--{name.replace('_', '-')}", given[name])
        for name in ("first_name", "last_name", "middle_name")
    }
    return {PAYOUT_INSTRUMENT[version_in_use()]: ("--phone", wire), **names}


def _card(token: str) -> Wire:
    return wrapped(EncryptedCard, {"number_hash": token})


_VIEWS: Final[Mapping[str, Callable[[Any], None]]] = {
    "wallet.balance": show_wallets,
    "token.issue": show_public_token,
    "token.info": show_token_info,
    "recurrent.disable": show_recurrent,
    "fps.banks": show_banks,
    "sberpay.push": show_push,
    "exchange_rate.get": show_exchange_rate,
}


def wait(options: WaitOptions) -> None:
    """Wait for a session, and print it."""
    seen: list[Session] = []

    def until(session: Session) -> bool:
        seen[:] = [session]
        return session.is_final if options.final else is_settled(session)

    run = CommandRun(options.as_json, is_polling=True)
    with reported(run):
        try:
            found = build_and_call(
                run,
                SESSION_STATUS,
                GivenFields(own={"session_id": ("SESSION_ID", options.session_id)}),
                lambda api, request, _: api.session.wait(
                    request, until=until, deadline=options.deadline
                ),
            )
        except StillOpen as error:
            raise evolve(error, cause=_why_open(error, seen, final=options.final)) from None
        run.print_answer(found, show_session)


def _why_open(error: StillOpen, seen: list[Session], *, final: bool) -> str:
    awaited = "accepted or cancelled" if final else "a final status, or a needed action"
    steps = [step for session in seen for step in steps_of(session).values() if step]
    parts = [error.cause, f"waited for {awaited}", *steps]
    return "; ".join(part for part in parts if part)


def call_any(options: AnyCallOptions) -> None:
    """Make any call, and print its answer."""
    run = CommandRun(options.as_json)
    with reported(run):
        given = GivenFields(
            file=options.file, fields=options.fields, json_fields=options.json_fields
        )
        draft = given.draft()
        repeat = Repeat.HARMLESS if options.harmless else Repeat.MOVES_MONEY
        version = cast("ApiVersion | None", options.api_version)
        method = cast("HttpMethod", options.method)
        success_field = options.success_field
        with draft.options_named():
            operation = free_operation(
                options.path,
                None,
                None,
                repeat,
                version=version,
                method=method,
                success_field=success_field,
            )
            run.prepare(operation, draft, options.key)

        async def made(api: SmartGlocal) -> dict[str, Any]:
            answer = await api.call(
                options.path,
                draft.wire,
                repeat=repeat,
                version=version,
                method=method,
                success_field=success_field,
                key=run.key,
                deadline=options.deadline,
            )
            return dict(answer)

        run.print_answer(make_call(run, made, draft), show_any)
