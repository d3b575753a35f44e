"""The handle to a running emulator; safe to use from any thread."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import date

from attrs import field, frozen

from ..errors import InvalidRequest
from ..keys import PrivateKey, PublicKey
from .bank.statistics import Delivery, Movement, Order, Report
from .faults import Fault, FaultScript
from .server.addresses import page_url
from .server.admin.actions import AdminActions
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
    _actions: AdminActions = field(alias="actions", repr=False)
    _signer: WebhookSigner = field(alias="signer", repr=False)

    @property
    def _dispatcher(self) -> Dispatcher:
        return self._actions.dispatcher

    @property
    def page_url(self) -> str | None:
        """The address of the page that shows what happens; None if it has no loopback address."""
        return page_url(self.url)

    @property
    def webhook_key(self) -> PublicKey:
        """The key that verifies the webhooks; generating it takes a moment on first use."""
        return self._signer.key().public

    def deliver_to(self, url: str | None) -> None:
        """Send webhooks about what happens from now on to ``url``; None: send none.

        Raises:
            InvalidRequest: the URL isn't one of HTTP or HTTPS, or has a user or a password.

        """
        self._actions.deliver_to(url)

    @contextmanager
    def inject(self, *faults: Fault, seed: int = 0) -> Generator[None, None, None]:
        """Apply these faults, and no others, to the requests of a ``with`` block.

        Attempts are counted for each call and key since the emulator began, or was last reset.

        Raises:
            InvalidRequest: what isn't a `Fault`; or a fault ``stale``, and the emulator doesn't
                keep what it would show: run it with ``keeps_history``.

        """
        before = self._actions.replace_faults(FaultScript(faults, seed))
        try:
            yield
        finally:
            self._actions.restore_faults(before)

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
        self._actions.chargeback(id_)

    def return_payout(self, id_: str) -> None:
        """Return a payout that succeeded, as the recipient's bank may; ``id_`` as elsewhere.

        Raises:
            InvalidRequest: no payout succeeded there, or it was returned before.

        """
        self._actions.return_payout(id_)

    def confirm(self, id_: str) -> None:
        """Confirm a session as the partner's call does, without a request.

        Raises:
            InvalidRequest: nothing waits for a confirm there.

        """
        self._actions.confirm(id_)

    def succeed(self, id_: str) -> None:
        """Have a payout or payment succeed that is under way, stuck, or failed and not final.

        Raises:
            InvalidRequest: it is settled, or the wallet has too little money.

        """
        self._actions.succeed(id_)

    def decline(self, id_: str, code: str | None = None) -> None:
        """Decline a payout or payment; one that waits for a confirm is declined once confirmed.

        ``code`` is the code of its error; by default one of the outcomes' table.

        Raises:
            InvalidRequest: it is settled already.

        """
        self._actions.decline(id_, code)

    def send_again(self, webhook: int) -> None:
        """Send a webhook again, with the same bytes; `Delivery.webhook` is its number.

        Raises:
            InvalidRequest: it isn't among the latest 10,000, or there is no address to send it to.

        """
        self._actions.send_again(webhook)

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the emulator, on top of its clock: what is due by then is done.

        Raises:
            InvalidRequest: the seconds aren't above zero, or are more than a year; or ten years
                have passed since the start or the last `reset`.

        """
        self._actions.pass_time(seconds)

    def reset(self) -> None:
        """Forget sessions, money, requests and webhooks; faults and rules stay."""
        self._actions.reset()

    def start_over(self) -> None:
        """Forget all that happened, and set what was changed since the start as it was then.

        That is faults, rules, and the faults and address of webhooks. Not for use within a block
        of `inject`: its end restores the faults of before it.
        """
        self._actions.start_over()

    def top_up(self, amount: int, currency: str) -> None:
        """Add money to the wallet of a currency: ``amount`` in minor units, such as 100_00 usd.

        Raises:
            InvalidRequest: the amount isn't above zero.

        """
        self._actions.top_up(amount, currency)

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
