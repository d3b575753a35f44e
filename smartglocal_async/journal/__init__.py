"""Where keys and what became of them are written down, before anything that moves money is sent.

`store` has the records and the protocol, `memory` and `sqlite` keep it, `states` the legal steps.
"""
