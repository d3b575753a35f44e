"""aioresponses for an aiohttp whose responses want to know their writer.

aioresponses 0.7.9 builds `aiohttp.ClientResponse` without ``stream_writer``, which aiohttp 3.14
made mandatory. `MockedProvider` hands every mock a class of response that fills it in; this is
aioresponses' own parameter ``response_class``. A test in ``test_mocked.py`` fails on the day this
file can go.
"""

from typing import Any

import aiohttp
from aioresponses import aioresponses
from aioresponses.core import RequestCall


class _NothingWritten:
    """What a response asks of the writer of its request: how much left."""

    output_size = 0


class _MockedResponse(aiohttp.ClientResponse):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, stream_writer=_NothingWritten(), **options)


class MockedProvider(aioresponses):
    """`aioresponses` whose answers can be made on this aiohttp."""

    def add(self, *args: Any, **options: Any) -> None:
        """Answer a request, as `aioresponses.add` does."""
        super().add(*args, response_class=_MockedResponse, **options)

    def _build_request_call(self, method: str, *args: Any, **options: Any) -> RequestCall:
        # Options are copied deeply to be recorded, and the signer holds the client's pool.
        return super()._build_request_call(method, *args, **options | {"middlewares": ()})
