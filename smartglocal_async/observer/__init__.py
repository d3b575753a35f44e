"""What happens in a client, its payouts and webhooks, as events for logs, traces and metrics."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
