"""Hold what a row says to the records, to the key's rules, and to the provider's pages."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final

from attrs import field, frozen

from ...codec import Codec, NotDecodable, Wire, codec
from ...errors import InvalidRequest
from ...idempotency import choose_key
from ...operations import SESSION_START_PAYOUT
from ...rules import broken_rules
from ...values.instruments import OtherInstrument
from ..orders import PayoutOrder
from .rows import FileRow, Problem, shown

_KEY_FIELD: Final = "idempotency_key"
_UNKNOWN_KIND: Final = (
    "is no instrument with a record here; it is sent as it is, and no rule is looked at"
)


@frozen(eq=False)
class Judge:
    """Make orders of rows."""

    today: date | None
    """For cards that expire; None looks at no rule of the provider's pages."""
    is_strict: bool = True
    """Whether the certain ones of those rules forbid to pay; all are advice otherwise."""
    _codec: Codec = field(factory=lambda: codec("v1"), repr=False)

    def row(self, line: int, wire: Wire, column_of: Callable[[str], str]) -> FileRow:
        """Make a row of the wire form of a request, with its key in it."""
        try:
            order = self._codec.structure(wire, PayoutOrder)
        except NotDecodable as error:
            wrong = error.complaints
        else:
            problems = tuple(self._about(line, order, wire, column_of))
            is_bad = any(not problem.is_advice for problem in problems)
            return FileRow(line=line, order=None if is_bad else order, problems=problems)
        return FileRow(
            line=line,
            order=None,
            problems=tuple(
                Problem(line=line, column=shown(column_of(_bare(path))), problem=problem)
                for path, problem in wrong
            ),
        )

    def order(self, place: int, order: PayoutOrder) -> FileRow:
        """Make a row of an order that was made elsewhere."""
        problems = tuple(self._about(place, order, self._codec.wire(order), str))
        is_bad = any(not problem.is_advice for problem in problems)
        return FileRow(line=place, order=None if is_bad else order, problems=problems)

    def _about(
        self, line: int, order: PayoutOrder, wire: Wire, column_of: Callable[[str], str]
    ) -> Iterator[Problem]:
        if (wrong := _wrong_key(order)) is not None:
            yield Problem(line=line, column=column_of(wrong.field), problem=wrong.problem)
        if isinstance(order.payment_method, OtherInstrument):
            yield Problem(
                line=line,
                column=column_of("payment_method"),
                problem=_UNKNOWN_KIND,
                is_advice=True,
            )
        if self.today is None:
            return
        for broken in broken_rules(SESSION_START_PAYOUT.path, wire, self.today):
            yield Problem(
                line=line,
                column=column_of(broken.field),
                problem=broken.problem,
                page=broken.page,
                is_advice=broken.is_advice or not self.is_strict,
            )


def _wrong_key(order: PayoutOrder) -> InvalidRequest | None:
    metadata: Any = order.metadata
    try:
        _ = choose_key(
            order.key, metadata, field=_KEY_FIELD, metadata_is_key=False, make=lambda: ""
        )
    except InvalidRequest as error:
        return error.with_traceback(None)
    return None


def _bare(path: str) -> str:
    return path.removeprefix("$").strip(".")
