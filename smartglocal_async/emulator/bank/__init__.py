"""The provider's rules and state, without network or clock."""
