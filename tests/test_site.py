"""The documentation as a site: its pages, its search, and the messages that it explains."""

import ast
import contextlib
import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path
from typing import Final

import pytest
from browser import barriers, chromium, expect, needs_chromium, overflow
from places import ROOT
from site_check import (
    TROUBLESHOOTING,
    indexed_text,
    loaded_from_elsewhere,
    main,
    messages,
    not_found,
)

from smartglocal_async.journal.postgres.schema import _VERSION
from smartglocal_async.journal.sqlite.file import _SCHEMA

DOCS: Final = ROOT / "docs"
PAGES: Final = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
LACKING: Final = [name for name in ("material", "mkdocstrings") if util.find_spec(name) is None]


def test_every_page_is_in_the_menu() -> None:
    """Once."""
    menu = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r"[\w/-]+\.md$", menu, re.MULTILINE)) == PAGES


def test_every_page_is_in_the_overview() -> None:
    """`llms.txt` has one line for each, with a description."""
    overview = (DOCS / "llms.txt").read_text("utf-8")
    assert sorted(re.findall(r"^- \[[^]]+\]\(([^)]+)\): \S", overview, re.MULTILINE)) == PAGES


def test_the_landing_page_leads_everywhere() -> None:
    """It has a link to each tutorial, how-to, explanation and reference."""
    links = set(re.findall(r"\]\(([^):#]+\.md)", (DOCS / "index.md").read_text("utf-8")))
    inner = {page for page in PAGES if page.startswith("reference/python/")}
    assert set(PAGES) - {"index.md"} - inner == links


def texts(file: Path) -> str:
    """Return the texts of a module, with ``...`` for each part that differs."""
    found = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Constant(value=str(text)):
                found.append(text)
            case ast.JoinedStr(values=values):
                parts = (v.value if isinstance(v, ast.Constant) else "..." for v in values)
                found.append("".join(map(str, parts)))
            case _:
                pass
    return "\n".join(found)


SOURCES: Final = [texts(file) for file in sorted((ROOT / "smartglocal_async").rglob("*.py"))]


@pytest.mark.parametrize("message", messages())
def test_each_message_exists(message) -> None:
    """The code has all of its fixed parts, in one module and in words that nothing else has."""
    parts = [part.strip() for part in re.split(r"\.\.\.|'[a-z]+_error'", message)]
    assert max(map(len, parts)) >= 8
    assert any(all(part in source for part in parts) for source in SOURCES)


def test_there_are_messages() -> None:
    """And none is listed twice."""
    assert len(messages()) > 40
    assert len(set(messages())) == len(messages())


def test_the_page_of_messages_is_found_first() -> None:
    """The search counts its words more, as the reference has the same words on many pages."""
    assert TROUBLESHOOTING.read_text("utf-8").startswith("---\nsearch:\n  boost: 10\n---\n")


def test_versions_of_the_journals() -> None:
    """The page on upgrades has those that this release writes."""
    page = (DOCS / "reference/versions.md").read_text("utf-8")
    assert f"| a file | {_SCHEMA} |" in page
    assert f"| PostgreSQL | {_VERSION} |" in page


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Return the folder of the built site."""
    if LACKING:
        pytest.skip(f"not installed: {', '.join(LACKING)}")
    folder: Path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site(site) -> None:
    """It builds without a warning, its search finds everything, and nothing is from elsewhere."""
    assert main(site) == 0
    assert (site / "llms.txt").is_file()
    assert '"version": {"provider": "mike"}' in (site / "index.html").read_text("utf-8")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yields its address."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


LOOKED_AT: Final = ("", "how-to/payout-files/", "reference/python/errors/", "explanation/speed/")


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
async def test_everyone_can_read_it(site, width, scheme) -> None:
    """Without serious barriers, and no page is wider than its window; a search shows its pages."""
    with served(site) as url:
        async with chromium() as browser:
            size = {"width": width, "height": 800}
            context = await browser.new_context(viewport=size, color_scheme=scheme)
            page = await context.new_page()
            for path in LOOKED_AT:
                _ = await page.goto(url + path)
                assert await barriers(page) == [], path
                assert await overflow(page) == 0, path
            await page.locator("[data-md-toggle=search]").evaluate("toggle => toggle.click()")
            await page.locator("input.md-search__input").press_sequentially("KeyReused")
            found = page.locator(".md-search-result__item").first
            await expect(found).to_be_visible(timeout=120_000)  # The index is read first.
            assert await barriers(page) == []


def test_what_the_search_lacks(tmp_path) -> None:
    """A message that no page has, and a public name that none has, are both found."""
    (tmp_path / "search").mkdir()
    index = '{"docs": [{"title": "Calls", "text": "<code>payouts are halted</code> <p>Settings"}]}'
    (tmp_path / "search/search_index.json").write_text(index, "utf-8")
    missing = set(not_found(indexed_text(tmp_path)))
    assert {"the message 'outcome unknown'", "the name SmartGlocal"} <= missing
    assert missing.isdisjoint({"the message 'payouts are halted'", "the name Settings"})


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ('<script src="https://cdn.example/x.js">', True),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', True),
        ('<link href="https://fonts.example" rel="preconnect">', True),
        ("@import url(https://fonts.example/x.css)", True),
        ('<a href="https://example.org">', False),
        ('<script src="../assets/x.js">', False),
    ],
)
def test_what_is_loaded_from_elsewhere(tmp_path, text, is_found) -> None:
    """Scripts, images and styles; a link that a reader may follow isn't."""
    (tmp_path / "page.html").write_text(text, "utf-8")
    assert bool(list(loaded_from_elsewhere(tmp_path))) is is_found
