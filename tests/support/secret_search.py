"""Searches for secrets in everything that a program might log or store."""

import gc
import logging
import pickle
import types
from collections.abc import Collection

from places import TESTS

import smartglocal_async as sg
from smartglocal_async.models.serialization import Serializable


class SecretSearch:
    """Searches texts, errors, objects and logs for secrets."""

    def __init__(self, secrets: Collection[str]) -> None:
        self.secrets = secrets
        self.found: list[str] = []

    def search(self, where: str, text: str) -> None:
        """Search a text for every secret."""
        self.found += [f"{secret[:12]}... in {where}" for secret in self.secrets if secret in text]

    def search_error(self, error: BaseException) -> None:
        """Search an error, its causes, the frames of its traceback, and its pickle."""
        remaining: list[BaseException | None] = [error]
        seen: set[int] = set()
        while remaining:
            each = remaining.pop()
            if each is None or id(each) in seen:
                continue
            seen.add(id(each))
            name = type(each).__name__
            self.search(f"str of {name}", str(each))
            self.search(f"repr of {name}", repr(each))
            self.search(f"args of {name}", repr(each.args))
            self.search_frames(name, each.__traceback__)
            remaining += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
        if isinstance(error, sg.SmartGlocalError):
            self.search("pickle", pickle.dumps(error).decode("latin-1"))

    def search_frames(self, name: str, traceback: types.TracebackType | None) -> None:
        """Search the variables of each frame outside of the tests."""
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if not code.co_filename.startswith(str(TESTS)):
                for variable, value in traceback.tb_frame.f_locals.items():
                    self.search(f"{name}: {variable} of {code.co_qualname}", safe_repr(value))
            traceback = traceback.tb_next

    def search_objects(self, *roots: object) -> None:
        """Search the repr and the JSON text of every reachable object of the package."""
        remaining: list[object] = list(roots)
        seen: set[int] = set()
        while remaining:
            each = remaining.pop()
            if id(each) in seen or isinstance(each, type | types.ModuleType | types.FunctionType):
                continue
            seen.add(id(each))
            is_ours = type(each).__module__.startswith("smartglocal_async")
            if is_ours:
                self.search(f"repr of {type(each).__name__}", repr(each))
            if isinstance(each, Serializable):
                self.search(f"JSON of {type(each).__name__}", each.to_json())
            if is_ours or isinstance(each, dict | list | tuple | set):
                remaining += gc.get_referents(each)

    def search_logs(self, records: list[logging.LogRecord]) -> None:
        """Search every log record and its attributes."""
        for record in records:
            self.search(f"log of {record.name}", f"{record.getMessage()} {vars(record)!r}")


def safe_repr(value: object) -> str:
    """Return a repr, or the name of the error that it raises."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - any, of any object
        return type(error).__name__
