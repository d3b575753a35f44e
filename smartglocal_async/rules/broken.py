"""What the rules report."""

from attrs import frozen


@frozen
class Broken:
    """A rule that a request breaks."""

    field: str
    """Path on the wire, such as ``payment_method.bank_account.global.iban``."""
    problem: str
    """What to do about it; never the value."""
    page: str
    """Where the provider says so, below ``developer.smart-glocal.com/docs/``; or the standard
    that says so."""
    is_advice: bool = False
    """Whether the provider may well take the request all the same: no page says for certain, of
    such a request, that it must be so."""
