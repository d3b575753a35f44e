"""The handle to a running emulator; safe to use from any thread."""

from attrs import field, frozen

from ..signing import PrivateKey
from .desk import Desk
from .records import Order, Report


@frozen(eq=False, kw_only=True)
class Provider:
    """A running emulator: where it is, whose signatures it takes, what it saw."""

    url: str
    """Address without a path, such as ``http://127.0.0.1:8080``."""
    project: str
    private_key: PrivateKey | None
    """The pair's other half, if the emulator made the pair itself."""
    _desk: Desk = field(alias="desk", repr=False)

    def report(self) -> Report:
        """Give the counts so far."""
        with self._desk.lock:
            return self._desk.bank.report()

    def order(self, key: str) -> Order:
        """Tell what happened under ``key``; all zeros if it never arrived.

        An order without a key goes by the JSON text of its metadata, compact and with
        sorted names: ``'"order123"'`` for the string ``order123``.
        """
        with self._desk.lock:
            return self._desk.bank.order(key)

    @property
    def session_ids(self) -> tuple[str, ...]:
        """All sessions, oldest first."""
        with self._desk.lock:
            return self._desk.bank.session_ids
