"""The public names of the package and its modules, and what each import loads."""

import inspect
import json
import subprocess
import sys
from typing import Final

import pytest

import smartglocal_async as sg

DOORS: Final = [sg, sg.models, sg.journal, sg.payouts, sg.webhooks]
NAMES: Final = [(door, name) for door in DOORS for name in door.__all__]
HEAVY: Final = ["aiohttp", "cattrs", "tenacity", "cryptography"]


def modules_after(statements: str) -> set[str]:
    """Run statements in a new interpreter; return the names of the loaded modules."""
    program = f"import sys, json\n{statements}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(json.loads(done.stdout))


def test_number_of_root_names() -> None:
    """Only what a program that calls the API needs; other names are in their modules."""
    assert len(sg.__all__) <= 90
    assert sg.__all__ == sorted(sg.__all__)


def test_names_in_two_modules() -> None:
    """They are the same objects."""
    for door in DOORS[1:]:
        for name in set(sg.__all__).intersection(door.__all__):
            assert getattr(sg, name) is getattr(door, name)


@pytest.mark.parametrize(("door", "name"), NAMES)
def test_every_name_can_be_imported(door, name) -> None:
    """Each exists once, and is kept after its first use."""
    value = getattr(door, name)
    assert value is not None
    assert vars(door)[name] is value


@pytest.mark.parametrize(("door", "name"), [one for one in NAMES if inspect.isclass(getattr(*one))])
def test_every_class_has_its_name_and_a_docstring(door, name) -> None:
    """No aliases, and each docstring begins with a description."""
    cls = getattr(door, name)
    assert (cls.__name__, cls.__module__.split(".")[0]) == (name, "smartglocal_async")
    assert inspect.getdoc(cls)


def test_dir_shows_the_public_names() -> None:
    """And the modules with more names, and no internals."""
    modules = set(dir(sg)) - set(sg.__all__)
    assert {"errors", "journal", "models", "payouts", "webhooks"} <= modules
    assert all(inspect.ismodule(getattr(sg, name)) for name in modules)
    assert sg.__version__


@pytest.mark.parametrize("name", ["Money", "smartglocal", "_missing", "__path_of__"])
def test_an_unknown_name(name) -> None:
    """Python's own message."""
    with pytest.raises(AttributeError) as caught:
        getattr(sg, name)
    assert str(caught.value) == f"module 'smartglocal_async' has no attribute {name!r}"


def test_the_import_is_light() -> None:
    """Importing the package loads none of its dependencies."""
    assert not modules_after("import smartglocal_async").intersection(HEAVY)


@pytest.mark.parametrize(
    ("statement", "light"),
    [
        ("from smartglocal_async import AmountDetails, CreateSession, BankCard", HEAVY),
        ("from smartglocal_async import SmartGlocalError, CallFailed", HEAVY),
        ("from smartglocal_async import DEMO, LIVE", HEAVY),
        ("from smartglocal_async import PrivateKey", ["aiohttp", "cattrs", "tenacity"]),
    ],
)
def test_a_name_loads_what_it_needs(statement, light) -> None:
    """Values and errors need only attrs, a key needs cryptography."""
    assert not modules_after(statement).intersection(light)


def test_all_names_at_once() -> None:
    """A star import works, and imports the public names."""
    program = "from smartglocal_async import *; SmartGlocal, AmountDetails"
    assert "aiohttp" in modules_after(program)
