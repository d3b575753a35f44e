"""What an operation would come to, before it is begun; no I/O."""

from attrs import frozen

from .asks import INVALID_REQUEST, Refused
from .cards import number_of, phone_of
from .checks import JsonObject, is_object
from .outcomes import Fate, Outcome, Traits, outcome_of
from .sessions import Kind
from .tokens import Tokens


@frozen
class Drafts:
    """Judges terms by the instrument they name."""

    tokens: Tokens

    def check(self, terms: JsonObject, kind: Kind) -> None:
        """Refuse a recurrent token that can't be used."""
        token = _token(terms, kind)
        if token is None:
            return
        if self.tokens.instrument(token) is None:
            words = "payment_details.recurrent.token: there is no such token"
            raise Refused(INVALID_REQUEST, words)
        if not self.tokens.is_active(token):
            # The code is the sister platform's word for a binding that was disabled.
            raise Refused("binding_is_deactivated", "payment_details.recurrent.token: is disabled")

    def outcome(self, terms: JsonObject, kind: Kind) -> Outcome:
        """Tell how the operation will turn out."""
        token = _token(terms, kind)
        instrument = _instrument(terms, kind)
        paid_with = self.tokens.instrument(token) if token is not None else instrument
        money = terms.get("amount_details")
        amount = money.get("amount") if is_object(money) else None
        traits = Traits(
            card=number_of(paid_with or {}),
            phone=phone_of(instrument),
            amount=amount if isinstance(amount, int) else None,
        )
        row = outcome_of(kind.value, traits)
        # Documented: the payer's own initiative needs 3-D Secure.
        challenged = row.fate is Fate.SUCCEED and _by_the_payer(instrument)
        if not challenged:
            return row
        return Outcome(row.operation, "any", "", Fate.CHALLENGE, "3DS_error", "needs 3-D Secure")


def _instrument(terms: JsonObject, kind: Kind) -> JsonObject:
    name = "payment_details" if kind is Kind.PAYMENT else "payment_method"
    instrument = terms.get(name)
    return instrument if is_object(instrument) else {}


def _recurrent(instrument: JsonObject) -> JsonObject:
    recurrent = instrument.get("recurrent") if instrument.get("type") == "recurrent" else None
    return recurrent if is_object(recurrent) else {}


def _token(terms: JsonObject, kind: Kind) -> str | None:
    token = _recurrent(_instrument(terms, kind)).get("token")
    return token if isinstance(token, str) else None


def _by_the_payer(instrument: JsonObject) -> bool:
    return _recurrent(instrument).get("initiator") == "client"
