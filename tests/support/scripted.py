"""A provider with scripted answers, and a signer that does no work."""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from rawserver import Peer, answer

LOST: Final = None
"""In a script: the connection is closed without an answer."""


def session_answer(status: str = "in_progress", **session: Any) -> bytes:
    """Return an answer with a session."""
    shown = {"id": "ps_1", "status": status, **session}
    return answer(json.dumps({"status": "ok", "session": shown}).encode())


def refused(code: str | None, status: int = 400, description: str | None = "why") -> bytes:
    """Return an answer with an error."""
    error = {"code": code, "description": description}
    body = {name: text for name, text in error.items() if text is not None}
    return answer(json.dumps({"status": "error", "error": body}).encode(), f"{status} No")


class Provider:
    """Answers each operation from its script; the last answer repeats."""

    def __init__(self, **script: list[bytes | None]) -> None:
        self.script = {name.replace("_", "/"): list(lines) for name, lines in script.items()}
        self.seen: list[str] = []
        self.heads: dict[str, list[bytes]] = defaultdict(list)
        self.bodies: dict[str, list[Any]] = defaultdict(list)

    def __call__(self, peer: Peer) -> None:
        """Handle one connection."""
        while body := peer.read_request():
            head = peer.server.requests[-1][0]
            path = head.split()[1].decode().removeprefix("/api/v1/")
            self.seen.append(path)
            self.heads[path].append(head)
            self.bodies[path].append(json.loads(body))
            lines = self.script[path]
            line = lines.pop(0) if len(lines) > 1 else lines[0]
            if line is LOST:
                return
            peer.send(line)


class FakeSigner:
    """A signer that does no work."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


def with_delays(provider: Provider, clock: Any, **seconds: float) -> Callable[[Peer], None]:
    """Return a provider whose answers advance the client's clock."""

    def play(peer: Peer) -> None:
        while body := peer.read_request():
            path = peer.server.requests[-1][0].split()[1].decode().removeprefix("/api/v1/")
            provider.seen.append(path)
            provider.bodies[path].append(json.loads(body))
            clock.now += seconds.get(path.replace("/", "_"), 0.0)
            lines = provider.script[path]
            line = lines.pop(0) if len(lines) > 1 else lines[0]
            if line is LOST:
                return
            peer.send(line)

    return play
