"""aioresponses for versions of aiohttp whose responses require a ``stream_writer``.

aioresponses 0.7.9 builds `aiohttp.ClientResponse` without ``stream_writer``, which aiohttp 3.14
made mandatory. `MockedProvider` passes a response class that adds it, through aioresponses' own
parameter ``response_class``. A test in ``test_mocked.py`` fails once this file is no longer needed.
"""

from typing import Any

import aiohttp
from aioresponses import aioresponses
from aioresponses.core import RequestCall


class _NothingWritten:
    """The writer that a response asks for the size of its request."""

    output_size = 0


class _MockedResponse(aiohttp.ClientResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, stream_writer=_NothingWritten(), **options)


class MockedProvider(aioresponses):
    """`aioresponses` that works with this version of aiohttp."""

    def add(self, *args: Any, **options: Any) -> None:
        """Answer a request, as `aioresponses.add` does."""
        super().add(*args, response_class=_MockedResponse, **options)

    def _build_request_call(self, method: str, *args: Any, **options: Any) -> RequestCall:
        # aioresponses deep-copies options to record them, and the signer holds the client's pool.
        return super()._build_request_call(method, *args, **options | {"middlewares": ()})
