"""The provider's two servers (its page of the format)."""

from typing import Final

DEMO: Final = "https://demo.smart-glocal.com"
"""The test server."""
LIVE: Final = "https://proxy.smart-glocal.com"
"""The live server: money moves."""
