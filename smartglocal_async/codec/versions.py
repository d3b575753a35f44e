"""The versions of the API, and the names that differ between them."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

ApiVersion = Literal["v1", "v2"]
NAMES: Final[Mapping[ApiVersion, Mapping[str, str]]] = {
    "v1": {"payout_list": "payments", "payment_list": "acquiring_payments"},
    "v2": {"payment_method": "payout_details"},
}
"""Field of a record -> its name on the wire, by version; only documented ones."""
_METHOD: Final = "payment_method"
PAYOUT_INSTRUMENT: Final[Mapping[ApiVersion, str]] = {
    version: names.get(_METHOD, _METHOD) for version, names in NAMES.items()
}
"""The name of a payout's instrument on the wire, by version."""


def names_of(fields: Iterable[str]) -> frozenset[str]:
    """Return the names that fields of records have on the wire, in all versions."""
    every = tuple(fields)
    return frozenset(names.get(field, field) for names in NAMES.values() for field in every)
