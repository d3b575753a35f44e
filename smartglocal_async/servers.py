"""Addresses: of the provider's two servers (its page of the format), and of an HTTP proxy."""

from typing import Final
from urllib.request import getproxies, proxy_bypass

from yarl import URL

DEMO: Final = "https://demo.smart-glocal.com"
"""The test server."""
LIVE: Final = "https://proxy.smart-glocal.com"
"""The live server: money moves."""
SYSTEM: Final = "system"
"""The value of ``SMARTGLOCAL_PROXY`` that takes the proxy of the system's settings."""
PROXY_FORM: Final = (
    "must be the address of an HTTP proxy, like http://user:password@host:3128 (for SOCKS pass the "
    "pool an aiohttp session with a connector of its own)"
)


def normalized(address: URL) -> URL:
    """Return the normal form of a server's address: without a slash at the end, query or fragment.

    yarl itself writes the host in lower case and leaves out the default port.
    """
    return address.with_path(address.raw_path.rstrip("/"), encoded=True)


def without_root(address: URL) -> URL:
    """Return an address without the dot that a full host name may end in: it is the same server."""
    host = address.host or ""
    return address.with_host(host.removesuffix(".")) if host.endswith(".") else address


def is_proxy(address: object) -> bool:
    """Return whether this is the address of an HTTP proxy, see `PROXY_FORM`.

    It raises nothing, as the frames of an error would show the password in it.
    """
    try:
        url = URL(address) if isinstance(address, str) else URL()
    except ValueError:
        return False
    is_bare = url.path in {"", "/"} and not url.query and not url.fragment
    return url.scheme in {"http", "https"} and bool(url.host) and is_bare


def system_proxy(server: str) -> str | None:
    """Return the proxy that this system uses for a server; None if it is reached directly.

    ``HTTPS_PROXY`` and ``NO_PROXY`` of the environment are read, or ``HTTP_PROXY`` for a server
    without TLS; without them, the settings of Windows or macOS.
    """
    try:
        url = URL(server)
    except ValueError:
        return None
    proxy = getproxies().get(url.scheme)
    if not proxy or not url.host or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def without_password(proxy: str) -> str:
    """Return the address of a proxy without user and password, to be shown."""
    return str(URL(proxy).with_user(None).origin()) if is_proxy(proxy) else "an invalid address"
