"""``payouts new-key``: a key for the requests in a journal."""

from ..sealing import Seal
from .failures import explained
from .screen import AsJson, remark, write_json, write_line


def new_key(*, as_json: AsJson = False) -> None:
    """Make a key that seals the requests in a journal, for SMARTGLOCAL_JOURNAL_KEY.

    It is all that standard output gets. Who submits and all workers need the same one. Keep it as
    you keep a password, and apart from the journal: who has both reads accounts and names, and
    without it nobody pays what was submitted.
    """
    with explained(as_json=as_json):
        key = Seal.new_key()
        if as_json:
            write_json({"key": key})
        else:
            write_line(key)
        remark(
            "keep it as you keep a password: whoever submits and all workers need the same one, as "
            "SMARTGLOCAL_JOURNAL_KEY"
        )
