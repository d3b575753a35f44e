"""The handle to a running emulator; safe to use from any thread."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import date

from attrs import field, frozen

from ..errors import InvalidRequest
from ..keys import PrivateKey, PublicKey
from .bank.statistics import Delivery, Movement, Order, Report
from .faults import Fault, FaultPicker, FaultScript
from .server.delivery import WebhookSigner
from .server.dispatch import Dispatcher


@frozen(eq=False, kw_only=True)
class Provider:
    """A running emulator: its address, its keys, and what arrived and happened."""

    url: str
    """Address without a path, such as ``http://127.0.0.1:8080``."""
    project: str
    private_key: PrivateKey | None
    """The key that signs calls, if the emulator generated the pair, or was run with it."""
    _dispatcher: Dispatcher = field(alias="dispatcher", repr=False)
    _signer: WebhookSigner = field(alias="signer", repr=False)

    @property
    def webhook_key(self) -> PublicKey:
        """The key that verifies the webhooks; generating it takes a moment on first use."""
        return self._signer.key().public

    def deliver_to(self, url: str | None) -> None:
        """Send webhooks about what happens from now on to ``url``; None: send none."""
        with self._dispatcher.lock:
            self._dispatcher.webhook_queue.url = url
        self._dispatcher.wake_delivery()

    @contextmanager
    def inject(self, *faults: Fault, seed: int = 0) -> Generator[None, None, None]:
        """Apply these faults, and no others, to the requests of a ``with`` block.

        Attempts are counted for each call and key since the emulator began.

        Raises:
            InvalidRequest: a fault ``stale``, and the emulator doesn't keep what it would show:
                run it with ``keeps_history``.

        """
        script, dispatcher = FaultScript(faults, seed), self._dispatcher
        if script.needs_history and not dispatcher.bank.keeps_history:
            raise InvalidRequest("faults", "`stale` needs an emulator with keeps_history=True")
        with dispatcher.lock:
            before, dispatcher.faults = dispatcher.faults, FaultPicker(script)
        try:
            yield
        finally:
            with dispatcher.lock:
                dispatcher.faults = before

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """The attempts to deliver a webhook that have ended, in that order."""
        with self._dispatcher.lock:
            return tuple(self._dispatcher.webhook_queue.deliveries)

    def tick(self) -> None:
        """Do what is due by the clock, and send the webhooks that are due.

        Only for a clock set by hand, after it was moved; a call to the API does the same.
        """
        with self._dispatcher.lock:
            _ = self._dispatcher.advance()
        self._dispatcher.wake_delivery()

    def act(self, id_: str, *, succeed: bool = True) -> None:
        """Act for the payer; ``id_`` is that of the payment or session.

        They pass or fail 3-D Secure, or pay or refuse in their bank.

        Raises:
            InvalidRequest: no payer is asked to act there.

        """
        with self._dispatcher.lock:
            now = self._dispatcher.advance()
            done = self._dispatcher.bank.act(id_, now, succeed=succeed)
            self._dispatcher.queue_webhooks(now)
        if not done:
            raise InvalidRequest("id_", "no payer is asked to act there")
        self._dispatcher.wake_delivery()

    def chargeback(self, id_: str) -> None:
        """Charge a payment back; ``id_`` is that of the payment or session.

        Raises:
            InvalidRequest: there is no money of a payment left there.

        """
        with self._dispatcher.lock:
            now = self._dispatcher.advance()
            done = self._dispatcher.bank.charge_back(id_, now)
            self._dispatcher.queue_webhooks(now)
        if not done:
            raise InvalidRequest("id_", "there is nothing to charge back")
        self._dispatcher.wake_delivery()

    def return_payout(self, id_: str) -> None:
        """Return a payout that succeeded, as the recipient's bank may; ``id_`` as elsewhere.

        Raises:
            InvalidRequest: no payout succeeded there, or it was returned before.

        """
        with self._dispatcher.lock:
            now = self._dispatcher.advance()
            done = self._dispatcher.bank.return_payout(id_, now)
            self._dispatcher.queue_webhooks(now)
        if not done:
            raise InvalidRequest("id_", "there is no payout to return")
        self._dispatcher.wake_delivery()

    def top_up(self, amount: int, currency: str) -> None:
        """Add money to the wallet of a currency: ``amount`` in minor units, such as 100_00 usd.

        Raises:
            InvalidRequest: the amount isn't above zero.

        """
        if amount <= 0:
            raise InvalidRequest("amount", "must be above zero")
        with self._dispatcher.lock:
            self._dispatcher.bank.top_up(amount, currency.lower())

    def report(self) -> Report:
        """Return the counts so far, after doing what is due by the clock."""
        with self._dispatcher.lock:
            _ = self._dispatcher.advance()
            return self._dispatcher.bank.report()

    def payouts_report(self, day: date | None = None) -> str:
        """Return the provider's payouts report of a day (UTC) as CSV; without a day, of all days.

        It has the payouts that succeeded, and a row of its own for each that a bank returned.
        """
        with self._dispatcher.lock:
            _ = self._dispatcher.advance()
            return self._dispatcher.bank.payouts_report(day)

    def payments_report(self, day: date | None = None) -> str:
        """Return the provider's payments report of a day (UTC) as CSV; without a day, of all days.

        It has the payments that succeeded, and a row for each refund (``Refund``), refund of a
        part (``Adjustment``) and chargeback (``Chargeback``). Fees are 0.
        """
        with self._dispatcher.lock:
            _ = self._dispatcher.advance()
            return self._dispatcher.bank.payments_report(day, self.project)

    def order(self, key: str) -> Order:
        """Return what happened under ``key``; all zeros if it never arrived.

        An order without a key is counted under the JSON text of its metadata, compact and with
        sorted names: ``'"order123"'`` for the string ``order123``.
        """
        with self._dispatcher.lock:
            _ = self._dispatcher.advance()
            return self._dispatcher.bank.order(key)

    def marked(self, journal: str, key: str) -> tuple[Movement, ...]:
        """Return the money that was moved for the payout ``key`` of a journal, in order.

        Unlike `order`, this distinguishes journals that use the same key. The journal and the key
        are read from the metadata, where `smartglocal_async.Payouts` writes them.
        """
        with self._dispatcher.lock:
            _ = self._dispatcher.advance()
            return tuple(self._dispatcher.bank.marked().get((journal, key), ()))

    @property
    def session_ids(self) -> tuple[str, ...]:
        """All sessions, oldest first."""
        with self._dispatcher.lock:
            _ = self._dispatcher.advance()
            return self._dispatcher.bank.session_ids
