"""A headless Chromium, and a check of a page by axe-core, for the tests of pages."""

import contextlib
import functools
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
AXE: Final = "axe-core@4.14.1"
expect.set_options(timeout=30_000)

SERIOUS: Final = frozenset({"serious", "critical"})


@contextlib.asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """Run Chromium until the block ends."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            await browser.close()


@functools.cache
def axe_source() -> str:
    """Return the script of axe-core, fetched with npm; skip the test if that fails."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm to fetch axe-core with")
    with tempfile.TemporaryDirectory() as folder:
        command = (npm, "pack", AXE, "--silent")
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            pytest.skip("npm can't fetch axe-core")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            return member.read().decode("utf-8")


async def barriers(page: Page) -> list[str]:
    """Return what axe-core finds to be a serious barrier, each with its place."""
    _ = await page.evaluate(axe_source())
    found: dict[str, Any] = await page.evaluate("axe.run()")
    return [
        f"{one['id']}: {node['target']}: {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


async def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window."""
    width: int = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return max(0, width)
