"""The provider's HTTP side: requests in, webhooks out."""
