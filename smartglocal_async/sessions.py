"""SessionCalls: the calls under ``session/``, a typed method each."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

from attrs import field, frozen

from .batch import settle_all
from .caller import Caller, CallOptions
from .errors import InvalidRequest, SmartGlocalError
from .operations import SESSION_CREATE, SESSION_STATUS
from .outcome import Outcome, outcome_of
from .values.answers import Session
from .values.exactness import above_zero
from .values.requests import CreateSession, SessionRef


@frozen(eq=False)
class SessionCalls:
    """The calls under ``session/``; a client has one as ``api.session``."""

    _caller: Caller = field(repr=False)

    async def create(
        self,
        request: CreateSession,
        *,
        key: str | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> Session:
        """Create a payment session; nothing moves yet.

        ``key`` is the idempotency key: your own order id, say. It travels in the metadata when
        that is an object or absent. Given twice with the same request at the same time in one
        event loop, both callers get the one session, under the first one's deadline; given with
        another request, it is refused. ``deadline`` (seconds, over all attempts and waits) and
        ``attempts`` override the client's policy.

        Raises:
            InvalidRequest: a field breaks a rule; nothing was sent.
            KeyReused: the key belongs to another request; nothing was sent.
            NotSent: the provider was not reached.
            Refused: the provider said no.
            OutcomeUnknown: it may exist by now; repeat with the same key, an orphan is harmless.

        """
        options = CallOptions(key=key, deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_CREATE, request, options)).answer

    async def status(
        self, request: SessionRef, *, deadline: float | None = None, attempts: int | None = None
    ) -> Session:
        """Ask for a session as it stands now.

        Raises:
            InvalidRequest: no session id.
            NotSent: the provider was not reached.
            Refused: the provider knows no such session, or said no.
            OutcomeUnknown: no readable answer came.

        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(SESSION_STATUS, request, options)).answer

    def create_many(
        self,
        requests: Iterable[CreateSession] | AsyncIterable[CreateSession],
        *,
        concurrency: int = 64,
        keys: Callable[[CreateSession], str | None] | None = None,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> AsyncGenerator[Outcome[CreateSession]]:
        """Create a session for each request, and give the outcomes as they settle.

        Takes any iterable or asynchronous iterable, and pulls only as fast as it sends; memory
        is bound by ``concurrency``. One failure never stops the others: its `Outcome` carries
        the error. When the source itself raises, or the client is drained, no more is taken;
        what is out is settled and given first. ``keys`` gives the idempotency key of a request;
        without it, the key in the metadata or a fresh one is used. Left early, whatever is out
        is cancelled; wrap it in `contextlib.aclosing` to have that happen at once.

        Raises:
            InvalidRequest: an option is not a number above zero, or not a whole one.
            PoolClosed: the client was closed or is draining.

        """
        above_zero("concurrency", concurrency, whole=True)
        plain = CallOptions(deadline=deadline, attempts=attempts)

        async def settle(index: int, request: CreateSession) -> Outcome[CreateSession]:
            options = plain
            try:
                if keys is not None:
                    options = plain.with_key(_key_of(request, keys))
                settled = await self._caller.call(SESSION_CREATE, request, options)
            except SmartGlocalError as error:
                return outcome_of(index, request, error, options.key)
            return outcome_of(index, request, settled)

        return settle_all(requests, settle, concurrency, self._caller.closed)


def _key_of(request: CreateSession, keys: Callable[[CreateSession], str | None]) -> str | None:
    try:
        return keys(request)
    except Exception as error:
        problem = f"raised {type(error).__name__} for this request"
        raise InvalidRequest("keys", problem) from error
