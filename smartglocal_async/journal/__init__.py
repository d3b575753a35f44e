"""Where keys and what became of them are written down, before anything that moves money is sent.

`store` has the protocol and `entries` its records, `states` the legal steps, `writing` decides what
may be written when, and `memory`, `sqlite` and `postgres` keep it.
"""
