"""The provider's two servers (its page of the format), and the one way to write an address."""

from typing import Final

from yarl import URL

DEMO: Final = "https://demo.smart-glocal.com"
"""The test server."""
LIVE: Final = "https://proxy.smart-glocal.com"
"""The live server: money moves."""


def plain(address: URL) -> URL:
    """Give the address of a server as it is written once: with no slash behind, nor what follows.

    Small letters for the host, and no port where it is the usual one, are what a URL has by itself.
    """
    return address.with_path(address.raw_path.rstrip("/"), encoded=True)
