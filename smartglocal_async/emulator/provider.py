"""The handle to a running emulator; safe to use from any thread."""

from attrs import field, frozen

from ..errors import InvalidRequest
from ..signing import PrivateKey, PublicKey
from .courier import Seal
from .desk import Desk
from .records import Delivery, Order, Report


@frozen(eq=False, kw_only=True)
class Provider:
    """A running emulator: where it is, whose signatures it takes, what it saw."""

    url: str
    """Address without a path, such as ``http://127.0.0.1:8080``."""
    project: str
    private_key: PrivateKey | None
    """The pair's other half, if the emulator made the pair itself."""
    _desk: Desk = field(alias="desk", repr=False)
    _seal: Seal = field(alias="seal", repr=False)

    @property
    def webhook_key(self) -> PublicKey:
        """The key that verifies the webhooks; making it takes a moment when first asked for."""
        return self._seal.key().public

    def deliver_to(self, url: str | None) -> None:
        """Send webhooks of what happens from now on to ``url``; None: to nobody."""
        with self._desk.lock:
            self._desk.outbox.url = url
        self._desk.alarm.ring()

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """Each attempt to deliver a webhook that has ended, in the order of their ends."""
        with self._desk.lock:
            return tuple(self._desk.outbox.deliveries)

    def tick(self) -> None:
        """Do what is due by the clock, and have the webhooks sent that are.

        Only for a clock set by hand, after it was moved; a call to the API does the same.
        """
        with self._desk.lock:
            _ = self._desk.advance()
        self._desk.alarm.ring()

    def act(self, id_: str, *, succeed: bool = True) -> None:
        """Pass or fail 3-D Secure for the payer; ``id_`` is that of the payment or session.

        Raises:
            InvalidRequest: no payer is asked to act there.

        """
        with self._desk.lock:
            now = self._desk.advance()
            done = self._desk.bank.act(id_, now, succeed=succeed)
            self._desk.post(now)
        if not done:
            raise InvalidRequest("id_", "no payer is asked to act there")
        self._desk.alarm.ring()

    def chargeback(self, id_: str) -> None:
        """Charge a payment back; ``id_`` is that of the payment or session.

        Raises:
            InvalidRequest: there is no money of a payment left there.

        """
        with self._desk.lock:
            now = self._desk.advance()
            done = self._desk.bank.charge_back(id_, now)
            self._desk.post(now)
        if not done:
            raise InvalidRequest("id_", "there is nothing to charge back")
        self._desk.alarm.ring()

    def report(self) -> Report:
        """Give the counts so far, with what is due by the clock done."""
        with self._desk.lock:
            _ = self._desk.advance()
            return self._desk.bank.report()

    def order(self, key: str) -> Order:
        """Tell what happened under ``key``; all zeros if it never arrived.

        An order without a key goes by the JSON text of its metadata, compact and with
        sorted names: ``'"order123"'`` for the string ``order123``.
        """
        with self._desk.lock:
            _ = self._desk.advance()
            return self._desk.bank.order(key)

    @property
    def session_ids(self) -> tuple[str, ...]:
        """All sessions, oldest first."""
        with self._desk.lock:
            _ = self._desk.advance()
            return self._desk.bank.session_ids
