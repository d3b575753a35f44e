"""Look into a built site: is what readers search for found, and is nothing loaded from elsewhere?

``python tests/support/site_check.py FOLDER`` prints what is missing, and exits with 1 then. `nox -s
docs` runs it after the build.
"""

import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import smartglocal_async as sg
from smartglocal_async import errors

DOCS: Final = Path(__file__).parents[2] / "docs"
TROUBLESHOOTING: Final = DOCS / "how-to/troubleshooting.md"
_ROW: Final = re.compile(r"^\| `(?P<message>[^`]+)` \|", re.MULTILINE)
_TAG: Final = re.compile(r"<[^>]+>")
_ELSEWHERE: Final = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(?:https?:)?//"
    r"|<link[^>]*rel=[\"']?(?:stylesheet|preconnect|preload)[^>]*href=[\"']?(?:https?:)?//"
    r"|<link[^>]*href=[\"']?(?:https?:)?//[^>]*rel=[\"']?(?:stylesheet|preconnect|preload)"
    r"|@import\s+(?:url\()?[\"']?https?://|url\([\"']?https?://"
)


def messages() -> list[str]:
    """Return the messages of the page on troubleshooting; ``...`` is a part that differs."""
    return _ROW.findall(TROUBLESHOOTING.read_text("utf-8"))


def error_names() -> list[str]:
    """Return the names of all errors and warnings that a caller may see."""
    return [name for name, one in vars(errors).items() if _is_error(one)]


def _is_error(one: object) -> bool:
    return (
        isinstance(one, type) and issubclass(one, Exception) and one.__module__ == errors.__name__
    )


def indexed_text(site: Path) -> str:
    """Return all titles and texts of a site's search index, without tags."""
    index = json.loads((site / "search/search_index.json").read_text("utf-8"))
    texts = [f"{entry['title']} {entry['text']}" for entry in index["docs"]]
    return " ".join(html.unescape(_TAG.sub(" ", " ".join(texts))).split())


def not_found(text: str) -> Iterator[str]:
    """Yield each message and each public name that a text lacks."""
    squeezed = text.replace(" ", "")  # Tags split words in the index.
    for message in messages():
        if message.replace(" ", "") not in squeezed:
            yield f"the message {message!r}"
    words = set(re.findall(r"\w+", text))
    for name in sorted({*sg.__all__, *error_names()}):
        if name not in words:
            yield f"the name {name}"


def loaded_from_elsewhere(site: Path) -> Iterator[str]:
    """Yield each page and style sheet that loads something from another host."""
    for file in sorted(site.rglob("*")):
        if file.suffix in {".html", ".css"} and (
            found := _ELSEWHERE.search(file.read_text("utf-8"))
        ):
            yield f"{file.relative_to(site)}: {found[0]}"


def main(site: Path) -> int:
    """Print what is wrong with a site; return 1 if anything is."""
    wrong = [
        *(f"the search doesn't find {missing}" for missing in not_found(indexed_text(site))),
        *(f"loaded from another host: {place}" for place in loaded_from_elsewhere(site)),
    ]
    for line in wrong:
        _ = sys.stdout.write(f"{line}\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
