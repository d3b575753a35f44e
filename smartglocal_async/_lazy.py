"""Public names that are loaded when they are first used; a package's stub file lists them."""

import re
import sys
from collections.abc import Callable
from importlib import import_module  # noqa: TID251 - names load on first use
from pathlib import Path
from typing import Any, Final

_IMPORT: Final = re.compile(r"^from (\.\S*) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)


def attach(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package, read from its stub.

    A line ``from .client import SmartGlocal as SmartGlocal`` in ``__init__.pyi`` makes
    ``SmartGlocal`` a public name; of ``from . import errors as errors`` the module can be had.
    """
    homes: dict[str, str] = {}
    for found in _IMPORT.finditer(Path(file).with_suffix(".pyi").read_text(encoding="utf-8")):
        module, names = found[1], found[2] or found[3]
        for entry in filter(None, map(str.strip, names.split(","))):
            homes[entry.partition(" ")[0]] = module

    def load(name: str) -> Any:  # noqa: ANN401 - any public name
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = homes[name]
        if module == ".":
            return import_module(f".{name}", package)
        value = getattr(import_module(module, package), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(name for name, module in homes.items() if module != ".")
    return load, lambda: sorted(homes), names


def public_name(kind: type) -> str:
    """Return how a public record is written, such as ``sg.Session`` or ``sg.models.Bank``."""
    package, name = import_module(__name__.partition(".")[0]), kind.__name__
    return f"sg.{name}" if name in package.__all__ else f"sg.models.{name}"
