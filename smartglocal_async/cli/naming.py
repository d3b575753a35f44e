"""Errors of the core, told by the names that the command line has for their causes."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..errors import InvalidCredentials, InvalidRequest

PASSPHRASE_VARIABLE: Final = "SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE"  # noqa: S105 - a name, and no secret
_NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})
# How the text of an error begins, and the variable that the argument came from.
_VARIABLES: Final[Mapping[str, str]] = {
    "server ": "SMARTGLOCAL_SERVER",
    "api_version ": "SMARTGLOCAL_API_VERSION",
    "project ": "SMARTGLOCAL_PROJECT",
    "submerchant ": "SMARTGLOCAL_SUBMERCHANT",
}


@contextmanager
def named(options: Mapping[str, str] = _NO_OPTIONS) -> Generator[None, None, None]:
    """Name the option behind the field of an error, and the variable behind a credential.

    ``options`` gives the option of a field by the beginning of its path; the longest wins.
    """
    try:
        yield
    except InvalidRequest as error:
        raise by_option(error, options) from None
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
    if "SMARTGLOCAL_" in text:
        return text
    if "the private key " in text:  # The path of its file may stand in front.
        variable = PASSPHRASE_VARIABLE if _is_of_passphrase(text) else "SMARTGLOCAL_PRIVATE_KEY"
        return f"{variable}: {text}"
    variables = (name for beginning, name in _VARIABLES.items() if text.startswith(beginning))
    return ": ".join([*variables, text])


def _is_of_passphrase(text: str) -> bool:
    return re.search(r"\bpassphrase\b", text) is not None
