"""Reads the text of an amount: thousands, decimal sign, and what two countries read differently."""

import re
from decimal import Decimal
from typing import Final, Literal

from attrs import define, field

from ...errors import InvalidRequest
from ...models.money import AmountDetails, decimals_of, two_readings
from .file_format import SIGNS

_PLAIN: Final = re.compile(r"[0-9]+(?:\.[0-9]{1,2})?")
_NUMBER: Final = re.compile(
    "(?P<minus>[+-]?)(?:"
    "(?P<grouped>[1-9][0-9]{0,2}"
    "(?:(?P<mark>[ .,'\u2019\u00a0\u202f])[0-9]{3})(?:(?P=mark)[0-9]{3})*)"
    "|(?P<whole>[0-9]+))"
    "(?:(?P<sign>[.,])(?P<fraction>[0-9]+))?"
)
_OTHER: Final[dict[str, Literal[".", ","]]] = {".": ",", ",": "."}
_THREE: Final = 3
_WHERE: Final = "amount"


@define
class AmountReader:
    """Reads the amounts of one file, which all have the same decimal sign."""

    sign: Literal[".", ","] | None = None
    """The decimal sign: given, or that of the first amount that leaves no doubt."""
    is_given: bool = field(default=False)
    assumed: Literal["."] | None = "."
    """The decimal sign as long as no amount shows one; None leaves it open."""

    def read(self, text: str, currency: str) -> AmountDetails:
        """Return the amount that a text says.

        Raises:
            InvalidRequest: it isn't an amount, it can be read as two, or it has the other decimal
                sign than the amounts before it.

        """
        if self.sign == "." and _PLAIN.fullmatch(text):
            return AmountDetails.of(text, currency)
        found = _NUMBER.fullmatch(text)
        if found is None:
            raise InvalidRequest(_WHERE, "expected a number such as '100.00'")
        whole, sign, fraction = self._parts(found)
        if sign is not None and fraction is not None:
            if len(fraction) == _THREE:
                is_grouped = found["grouped"] is not None
                return self._uncertain(whole, fraction, sign, currency, is_grouped=is_grouped)
            self._agree(sign)
        number = f"{found['minus']}{whole}"
        return AmountDetails.of(number if fraction is None else f"{number}.{fraction}", currency)

    def _parts(self, found: "re.Match[str]") -> tuple[str, str | None, str | None]:
        """Return the whole units, the decimal sign, and the decimals."""
        sign, fraction = found["sign"], found["fraction"]
        if found["grouped"] is None:
            return found["whole"], sign, fraction
        mark = found["mark"]
        groups = found["grouped"].split(mark)
        if mark not in _OTHER:
            return "".join(groups), sign, fraction
        if sign == mark:
            raise InvalidRequest(_WHERE, "expected a number such as '100.00'")
        if sign is None and len(groups) == 2:  # noqa: PLR2004 - one mark: thousands, or decimals
            if self.is_given and mark != self.sign:
                return "".join(groups), None, None
            return groups[0], mark, groups[1]
        self._agree(_OTHER[mark])
        return "".join(groups), sign, fraction

    def _uncertain(
        self, whole: str, fraction: str, sign: str, currency: str, *, is_grouped: bool
    ) -> AmountDetails:
        """Read three digits behind one sign, which may be decimals or a group of thousands."""
        decimals = decimals_of(currency)
        if self.is_given and sign == self.sign:
            return AmountDetails.of(Decimal(f"{whole}.{fraction}"), currency)
        if decimals == _THREE and not is_grouped:
            self._agree(sign)  # Such as 0.500 and 1234.500, which no group begins.
        point = self.sign or self.assumed
        if decimals == _THREE and sign == point:
            return AmountDetails.of(f"{whole}.{fraction}", currency)
        if point is None and decimals == _THREE:
            words = (
                "three digits behind one separator may be thousands or decimals, and no amount of "
                f"the file shows its decimal sign; write {whole}{fraction} or "
                f"{whole}{sign}{fraction}0, or give the decimal sign"
            )
            raise InvalidRequest(_WHERE, words)
        if not fraction[decimals:].strip("0"):
            words = two_readings(whole, fraction, fraction[:decimals], point or ".")
            raise InvalidRequest(_WHERE, words)
        words = f"{currency.lower()} has {decimals} decimals, and no finer amounts"
        if whole.strip("0"):
            words += f"; write {whole}{fraction} if these are thousands"
        raise InvalidRequest(_WHERE, words)

    def _agree(self, sign: str) -> None:
        """Take over the decimal sign of an amount that leaves no doubt."""
        if self.sign is None:
            self.sign = "," if sign == "," else "."
        elif self.sign != sign:
            here, file = SIGNS[sign], SIGNS[self.sign]
            raise InvalidRequest(_WHERE, f"has a {here}, and the file a {file}; write all alike")
