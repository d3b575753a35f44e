"""The entries of a journal one by one, fetched in pages: memory is that of a page."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from ..journal.entries import Entry

PAGE: Final = 256
"""How many entries a fetch asks for."""


async def each(
    fetch: Callable[[str | None], Awaitable[tuple[Entry, ...]]],
) -> AsyncGenerator[Entry]:
    """Give what ``fetch`` finds behind a key, from the beginning to a page that isn't full."""
    after: str | None = None
    while True:
        page = await fetch(after)
        for entry in page:
            yield entry
        if len(page) < PAGE:
            return
        after = page[-1].key
