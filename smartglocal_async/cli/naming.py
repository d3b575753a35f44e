"""Errors of the core, told by the names that the command line has for their causes."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..errors import InvalidCredentials, InvalidRequest
from ..servers import DEMO, LIVE

PASSPHRASE_VARIABLE: Final = "SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE"  # noqa: S105 - a name, and no secret
_NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})
# How the text of an error begins, and the variable that the argument came from.
_VARIABLES: Final[Mapping[str, str]] = {
    "server ": "SMARTGLOCAL_SERVER",
    "api_version ": "SMARTGLOCAL_API_VERSION",
    "project ": "SMARTGLOCAL_PROJECT",
    "submerchant ": "SMARTGLOCAL_SUBMERCHANT",
}
_WHICH_ONE: Final = "give one of --card-token, --public-token, --recurrent-token"
# What the client says to programs, and what is said here instead.
_OWN_WORDS: Final[Mapping[str, str]] = {
    "make the client with submerchant=": "set SMARTGLOCAL_SUBMERCHANT",
    "`sg.Seal.new_key()`": "`smartglocal payouts new-key`",
    "(sg.DEMO and sg.LIVE are two)": f"({DEMO} and {LIVE} are two)",
    "use https, or Settings(allow_plain_http=True) inside a network you trust": (
        "write https://..., as plain HTTP is for this machine alone"
    ),
    "; name it in ReportColumns": ": is it the provider's daily payouts report?",
    "give one of tokenize_widget, acquiring_widget, fps_no_account_widget": (
        "give one of --tokenize, --acquiring SESSION_ID, --fps SESSION_ID, and no more"
    ),
    "give one of card, public_token, recurrent_token": _WHICH_ONE,
    "expected an object of type card, public_token or recurrent_token": _WHICH_ONE,
}


@contextmanager
def named(options: Mapping[str, str] = _NO_OPTIONS) -> Generator[None, None, None]:
    """Name the option behind the field of an error, and the variable behind a credential.

    ``options`` gives the option of a field by the beginning of its path; the longest wins.
    """
    try:
        yield
    except InvalidRequest as error:
        raise by_option(_reworded(error), options) from None
    except InvalidCredentials as error:
        raise InvalidCredentials(by_variable(str(error))) from None


@contextmanager
def key_named(option: str, path: Path) -> Generator[None, None, None]:
    """Name the option that gave a key, or the one that gave its passphrase."""
    try:
        yield
    except InvalidCredentials as error:
        text = str(error)
        source = "--passphrase-env" if _is_of_passphrase(text) else option
        raise InvalidCredentials(f"{source}: {path}: {text}") from None


def by_option(error: InvalidRequest, options: Mapping[str, str]) -> InvalidRequest:
    """Give the same complaint about an option; what is deep inside its value keeps its path."""
    for field in sorted(options, key=len, reverse=True):
        rest = error.field.removeprefix(field)
        if error.field == field:
            return InvalidRequest(options[field], error.problem)
        if rest != error.field and rest[0] in ".[":
            return InvalidRequest(options[field], f"{error.field}: {error.problem}")
    return error


def by_variable(text: str) -> str:
    """Give the words of an error with the variable in front, where it can be told."""
    text = own_words(text)
    if "SMARTGLOCAL_" in text:
        return text
    if "the private key " in text:  # The path of its file may stand in front.
        variable = PASSPHRASE_VARIABLE if _is_of_passphrase(text) else "SMARTGLOCAL_PRIVATE_KEY"
        return f"{variable}: {text}"
    variables = (name for beginning, name in _VARIABLES.items() if text.startswith(beginning))
    return ": ".join([*variables, text])


def own_words(text: str) -> str:
    """Say it by what the command line has: options and variables, and no arguments of Python."""
    for words, own in _OWN_WORDS.items():
        text = text.replace(words, own)
    return text


def _reworded(error: InvalidRequest) -> InvalidRequest:
    return InvalidRequest(error.field, own_words(error.problem))


def _is_of_passphrase(text: str) -> bool:
    return re.search(r"\bpassphrase\b", text) is not None
