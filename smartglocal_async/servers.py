"""The provider's two servers (its page of the format), and the normal form of an address."""

from typing import Final

from yarl import URL

DEMO: Final = "https://demo.smart-glocal.com"
"""The test server."""
LIVE: Final = "https://proxy.smart-glocal.com"
"""The live server: money moves."""


def normalized(address: URL) -> URL:
    """Return the normal form of a server's address: without a slash at the end, query or fragment.

    yarl itself writes the host in lower case and leaves out the default port.
    """
    return address.with_path(address.raw_path.rstrip("/"), encoded=True)


def without_root(address: URL) -> URL:
    """Return an address without the dot that a full host name may end in: it is the same server."""
    host = address.host or ""
    return address.with_host(host.removesuffix(".")) if host.endswith(".") else address
