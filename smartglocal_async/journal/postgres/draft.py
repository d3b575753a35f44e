"""The rows that a group of jobs needs, in memory: read and locked, changed, and then written."""

from collections.abc import Iterable, Mapping
from itertools import chain, islice

from attrs import define, field, frozen

from ..entries import Attempt, Batch, Entry, Halt
from ..leases import is_leased
from ..packing import Page


@frozen(kw_only=True)
class Needs:
    """What a job looks at or writes."""

    keys: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    batches: frozenset[str] = frozenset()
    pages: tuple[Page, ...] = ()
    """Of entries that can be worked on."""
    sets_halt: bool = False
    counted: frozenset[str] = frozenset()
    """The keys of payouts that a batch with rules has to count."""
    news: frozenset[tuple[str, str]] = frozenset()
    """Keys that may be new, and their batches; one of them may be claimed in the same commit."""

    @classmethod
    def of_all(cls, several: "Iterable[Needs]") -> "Needs":
        """Give what all of them need together."""
        told = tuple(several)
        return cls(
            keys=frozenset(chain.from_iterable(needs.keys for needs in told)),
            sessions=frozenset(chain.from_iterable(needs.sessions for needs in told)),
            batches=frozenset(chain.from_iterable(needs.batches for needs in told)),
            pages=tuple(chain.from_iterable(needs.pages for needs in told)),
            sets_halt=any(needs.sets_halt for needs in told),
            counted=frozenset(chain.from_iterable(needs.counted for needs in told)),
            news=frozenset(chain.from_iterable(needs.news for needs in told)),
        )


@define(eq=False, kw_only=True)
class Draft:
    """Rows as `Writing` sees them; nobody else can change them until they are written."""

    now: float
    """The database's time, once the rows were locked."""
    entries: dict[str, Entry]
    users: dict[str, str]
    """Session id -> the key that ever used it."""
    batches: dict[str, Batch]
    halted: Halt | None
    opened: Mapping[Page, tuple[Entry, ...]]
    """What could be worked on when it was locked; more of a page that several ask for."""
    wait_seconds: float | None
    """When to ask again, where a limit of all workers let no more be taken."""
    new_keys: set[str] = field(factory=set[str], init=False)
    changed_keys: set[str] = field(factory=set[str], init=False)
    new_sessions: list[tuple[str, str, int]] = field(factory=list[tuple[str, str, int]], init=False)
    lines: list[Attempt] = field(factory=list[Attempt], init=False)
    old_batches: frozenset[str] = field(init=False)
    set_batches: set[str] = field(factory=set[str], init=False)
    is_halt_set: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.old_batches = frozenset(self.batches)

    @property
    def is_changed(self) -> bool:
        """Whether there is something to write."""
        return bool(self.new_keys or self.changed_keys or self.set_batches or self.is_halt_set)

    def find(self, key: str) -> Entry | None:
        """Give the entry of a key."""
        return self.entries.get(key)

    def insert(self, entry: Entry) -> None:
        """Add the entry of a key that isn't there."""
        self.entries[entry.key] = entry
        self.new_keys.add(entry.key)

    def replace(self, found: Entry, after: Entry) -> None:
        """Put an entry in the place of the one that was found under its key."""
        self.entries[found.key] = after
        if found.key not in self.new_keys:
            self.changed_keys.add(found.key)

    def free(self, page: Page, *, is_due: bool, is_running: bool) -> Iterable[Entry]:  # noqa: ARG002 - they are
        """Give a page of those that can be worked on now."""
        found = (self.entries[entry.key] for entry in self.opened[page])
        return islice((entry for entry in found if not is_leased(entry, self.now)), page.limit)

    def key_of(self, session_id: str) -> str | None:
        """Give the key that ever used a session."""
        return self.users.get(session_id)

    def use(self, session_id: str, entry: Entry) -> None:
        """Remember for ever that a session is an entry's."""
        self.users[session_id] = entry.key
        self.new_sessions.append((session_id, entry.key, entry.session_no))

    def log(self, attempt: Attempt) -> None:
        """Add a line to the log."""
        self.lines.append(attempt)

    def halt(self) -> Halt | None:
        """Give the halt that was written last."""
        return self.halted

    def set_halt(self, halt: Halt | None) -> None:
        """Write a halt in the place of the last one."""
        self.halted, self.is_halt_set = halt, True

    def batch(self, name: str) -> Batch | None:
        """Give a batch."""
        return self.batches.get(name)

    def set_batch(self, batch: Batch) -> None:
        """Write a batch in the place of the one with its name."""
        self.batches[batch.name] = batch
        self.set_batches.add(batch.name)
