"""One call from the command line: its request drafted, the call made, the answer shown."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import attrs
from attrs import field, frozen

from ..client import SmartGlocal
from ..errors import InvalidRequest, OutcomeUnknown
from ..operations import Operation, Request
from ..settings import Settings
from ..values.money import AmountDetails
from .draft import PAYOUT_INSTRUMENT, Draft, read_json, version_in_use
from .errand import Errand, ended_by_signals
from .failures import explained
from .naming import named

T = TypeVar("T")
Answer = TypeVar("Answer")

_AMOUNT: Final = {
    "AmountDetails.of": "--amount",
    "AmountDetails.amount": "--amount",
    "AmountDetails.currency": "--currency",
}
_NOTHING: Final[Mapping[str, tuple[str, Any]]] = MappingProxyType({})


@frozen(kw_only=True)
class Said:
    """What the options say of a request."""

    file: str | None = None
    fields: list[str] | None = field(default=None, repr=False)
    json_fields: list[str] | None = field(default=None, repr=False)
    amount: str | None = None
    currency: str | None = None
    metadata: str | None = field(default=None, repr=False)
    json_metadata: str | None = field(default=None, repr=False)
    key: str | None = None
    own: Mapping[str, tuple[str, Any]] = field(default=_NOTHING, repr=False)
    """Fields that have an option of their own: path -> its name and value; None was not given."""

    def draft(self) -> Draft:
        """Give the wire form of it all, options over the file.

        Raises:
            InvalidRequest: an option, or the file, can't be read, or two say the same.
            OSError: the file can't be read.

        """
        draft = Draft.read(self.file)
        for path, (option, value) in self.own.items():
            if value is not None:
                draft.put(path, value, option)
        if (amount := _amount(self.amount, self.currency)) is not None:
            draft.put("amount_details.amount", amount.amount, "--amount")
            draft.put("amount_details.currency", amount.currency, "--currency")
        if self.json_metadata is not None:
            if self.metadata is not None:
                raise InvalidRequest("--json-metadata", "give it or --metadata, not both")
            said = read_json(self.json_metadata, "--json-metadata")
            draft.put("metadata", said, "--json-metadata")
        elif self.metadata is not None:
            draft.put("metadata", self.metadata, "--metadata")
        draft.put_text("--set", self.fields, as_json=False)
        draft.put_text("--set-json", self.json_fields, as_json=True)
        return draft


def perform(
    errand: Errand,
    operation: Operation[Request, Answer],
    said: Said,
    call: Callable[[SmartGlocal, Request, str | None], Awaitable[T]],
    check: Callable[[Draft], None] | None = None,
) -> T:
    """Draft a request, and give what the call with it, and with its key, answers.

    Raises:
        InvalidRequest: under the name of the option that is to blame; nothing was sent.
        SmartGlocalError: as the call does.

    """
    version, draft = version_in_use(), said.draft()
    if check is not None:
        check(draft)
    request = draft.build(operation.request, version)
    errand.prepare(operation, draft, said.key)
    return ask(errand, lambda api: call(api, request, errand.key), draft)


def ask(
    errand: Errand, call: Callable[[SmartGlocal], Awaitable[T]], draft: Draft | None = None
) -> T:
    """Make a call with the credentials of the environment.

    Raises:
        InvalidRequest: under the name of the option of the draft that is to blame.
        SmartGlocalError: as the call does.

    """

    async def asked() -> T:
        async with SmartGlocal.from_env(settings=Settings(on_attempt=errand.heed)) as api:
            errand.leave()
            return errand.arrive(await call(api))

    with (draft or Draft()).blamed():
        return asyncio.run(asked())


@contextmanager
def told(*, as_json: bool) -> Generator[Errand, None, None]:
    """Send on an errand; end the command with a line and a code where it fails.

    The line is in the command line's own words.
    """
    errand = Errand(as_json)
    with explained(as_json=as_json), named(), ended_by_signals():
        try:
            yield errand
        except KeyboardInterrupt:
            if (ended := errand.ended()) is None:
                raise
            raise ended from None
        except OutcomeUnknown as error:
            raise errand.unsure(error) from None


def page_of(operation: Operation[Any, Any]) -> str:
    """Give the provider's page; without its scheme it fits a line of help."""
    return f"developer.smart-glocal.com/docs/{operation.page}"


def fields_of(operation: Operation[Any, Any]) -> str:
    """Give the last lines of a command's help: the fields that its call takes, and the page."""
    record = cast("type[attrs.AttrsInstance]", operation.request)
    needed: list[str] = []
    others: list[str] = []
    for own in attrs.fields(record):
        name = own.name
        if name == "payment_method" and "v2" in operation.versions:
            name += f" ({PAYOUT_INSTRUMENT['v2']} in v2)"
        (needed if own.default is attrs.NOTHING else others).append(name)
    said = [f"Needed: {', '.join(needed)}."] if needed else []
    if others:
        said.append(f"{'Optional' if needed else 'All optional'}: {', '.join(others)}.")
    only = "" if "v2" in operation.versions else " API v1 only."
    return f"{' '.join(said)}{only}\n\n{page_of(operation)}".strip()


def _amount(major: str | None, currency: str | None) -> AmountDetails | None:
    if major is None and currency is None:
        return None
    if major is None or currency is None:
        raise InvalidRequest("--amount", "--amount and --currency go together")
    with named(_AMOUNT):
        return AmountDetails.of(major, currency)
