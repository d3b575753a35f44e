"""Whose a journal is: a server and a project, and what of a project there is."""

from yarl import URL

from ..servers import plain


def scope_of(server: str, project: str, submerchant: str | None) -> str:
    """Give the scope of a client's journal."""
    return "|".join([server, project, *([] if submerchant is None else [submerchant])])


def is_same(one: str, other: str) -> bool:
    """Say whether two scopes are one, however their server is written."""
    return one == other or _plain(one) == _plain(other)


def _plain(scope: str) -> str:
    server, bar, rest = scope.partition("|")
    try:
        return f"{plain(URL(server))}{bar}{rest}"
    except ValueError:
        return scope
