"""The page of the emulator in a real browser: live, by keyboard, on a phone and a desk."""

import contextlib
import os
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from browser import barriers, chromium, needs_chromium, overflow
from looking import LookedInto, looked_into
from playwright.async_api import Page, expect

from smartglocal_async.emulator import Rules

pytestmark = [pytest.mark.slow, needs_chromium]

IMAGES: Final = Path(__file__).parents[3] / "docs" / "images"
KEEPS_IMAGES: Final = os.environ.get("SMARTGLOCAL_SCREENSHOTS") == "1"
"""Whether the screenshots of the documentation are written anew."""
SHOWN: Final = ("sessions", "session", "request")
"""The pages that have a picture in the documentation."""
TIME: Final = datetime(2026, 11, 30, 9, 41, tzinfo=UTC)


@contextlib.asynccontextmanager
async def opened(
    looked: LookedInto, path: str = "", *, allowed: str | None = None, **options: Any
) -> AsyncGenerator[Page]:
    """Open a page of the emulator; an error in its console that isn't allowed fails the test."""
    problems: list[str] = []
    async with chromium() as browser:
        context = await browser.new_context(**options)
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda line: problems.append(line.text) if line.type == "error" else None
        )
        _ = await page.goto(f"{looked.provider.url}/emulator/{path}")
        yield page
    assert [one for one in problems if allowed is None or allowed not in one] == []


async def test_a_payout_appears_is_confirmed_and_its_webhook_sent_again():
    """Without reloading the page."""
    async with looked_into(has_receiver=True) as looked, opened(looked) as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.get_by_text("There are no sessions yet")).to_be_visible()
        id_ = await looked.pays_out(2_400_00, key="salary-5")
        row = page.get_by_role("row").filter(has_text="salary-5")
        await expect(row).to_contain_text("2,400.00 USD")
        await expect(row).to_contain_text("Waits for confirm")

        await row.get_by_role("link", name=id_).click()
        await page.get_by_role("button", name="Confirm").click()
        await expect(page.locator("#notice")).to_have_text("The session is confirmed.")
        await expect(page.locator("#session .head")).to_contain_text("Succeeded")
        assert looked.provider.report().moved == 1

        webhook = page.locator("#webhooks").get_by_role("row").filter(has_text="payment_finished")
        await expect(webhook).to_contain_text("1 time")
        await webhook.get_by_role("button", name="Send again").click()
        await expect(webhook).to_contain_text("2 times")
        assert len(looked.received) == 3
        assert looked.received[1] == looked.received[2]


async def test_the_keyboard_alone():
    """Each step is reached with Tab, is visible, and keeps the focus on the page."""
    async with looked_into() as looked:
        id_ = await looked.pays_out()
        async with opened(looked) as page:
            await expect(page.locator("#live")).to_have_text("Live")
            await reach(page, f"session-{id_}")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", level=1)).to_have_text(f"Session {id_}")
            await expect(page.locator("#live")).to_have_text("Live")
            await reach(page, "do-confirm")
            await page.keyboard.press("Enter")
            await expect(page.locator("#session .head")).to_contain_text("Succeeded")
            assert await page.evaluate("document.activeElement.id") == "main"
            await reach(page, "do-return")
            await page.keyboard.press("Space")
            await expect(page.locator("#session .life")).to_contain_text("Returned")
    assert looked.provider.report().balances["usd"]["paid_out"] == 0


async def reach(page: Page, id_: str) -> None:
    """Press Tab until an element has the focus, and check that the focus is visible."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == id_:
            style = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid"
            return
    raise AssertionError(id_)


async def test_what_is_typed_stays():
    """A change of the emulator doesn't take the text or the focus from a field."""
    async with looked_into() as looked, opened(looked, "settings") as page:
        await expect(page.locator("#live")).to_have_text("Live")
        await page.get_by_label("delay seconds").fill("7")
        await page.locator("#other-rules summary").click()
        _ = await looked.pays_out()
        await expect(page.locator("#page-")).to_have_text("Sessions 1")
        await expect(page.get_by_label("delay seconds")).to_have_value("7")
        await (
            page.locator("form", has=page.get_by_label("delay seconds"))
            .get_by_role("button")
            .click()
        )
        await expect(page.locator("#notice")).to_have_text("The settings of webhooks are saved.")
        await expect(page.locator("#other-rules")).to_have_attribute("open", "")
        assert (await looked.admin.settings())["webhooks"]["delay_seconds"] == 7


async def test_a_problem_is_shown():
    """What can't be done is an alert on the page, and what was typed stays."""
    # A refused form is an answer of HTTP 400, which the browser writes to its console.
    async with looked_into() as looked, opened(looked, "settings", allowed="400") as page:
        amount = page.get_by_label("Amount, such as 100.00")
        await amount.fill("much")
        await page.get_by_role("button", name="Fund").click()
        await expect(page.get_by_role("alert")).to_contain_text("expected a number")
        await expect(amount).to_have_value("much")


async def test_reset_asks_first():
    """And does nothing if it isn't confirmed."""
    async with looked_into() as looked:
        _ = await looked.pays_out()
        async with opened(looked, "settings") as page:
            page.once("dialog", lambda dialog: dialog.dismiss())
            await page.get_by_role("button", name="Reset the emulator").click()
            assert (await looked.admin.overview())["sessions"] == 1
            page.once("dialog", lambda dialog: dialog.accept())
            await page.get_by_role("button", name="Reset the emulator").click()
            await expect(page.locator("#page-")).to_have_text("Sessions 0")


async def test_without_a_script():
    """Links and forms do the same."""
    async with looked_into() as looked:
        id_ = await looked.pays_out()
        async with opened(looked, f"sessions/{id_}", java_script_enabled=False) as page:
            await page.get_by_role("button", name="Confirm").click()
            await expect(page.locator("#session .head")).to_contain_text("Succeeded")
            assert page.url.endswith(f"/emulator/sessions/{id_}")


async def test_the_emulator_stops():
    """The page says that it is no longer live."""
    async with chromium() as browser:
        page = await browser.new_page()
        async with looked_into() as looked:
            _ = await page.goto(f"{looked.provider.url}/emulator/")
            await expect(page.locator("#live")).to_have_text("Live")
        await expect(page.locator("#live")).to_contain_text("Disconnected", timeout=30_000)


async def test_a_page_of_another_site_presses_nothing():
    """A form of another port, which is the same site for a browser, is refused."""
    async with looked_into() as looked:
        id_ = await looked.pays_out()
        action = f"{looked.provider.url}/emulator/api/sessions/{id_}/confirm"

        async def evil(_: web.BaseRequest) -> web.Response:
            form = f'<form method="post" action="{action}"><button>Win</button></form>'
            return web.Response(text=form, content_type="text/html")

        runner = web.ServerRunner(web.Server(evil), shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with chromium() as browser:
                page = await browser.new_page()
                _ = await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
                await page.get_by_role("button").click()
                await expect(page.get_by_text("another site")).to_be_visible()
        finally:
            await runner.cleanup()
        assert (await looked.admin.session(id_))["stage"] == "ready"


async def example(looked: LookedInto) -> tuple[str, int]:
    """Make what the screenshots show; return a session and the number of a refused request."""
    for number, (amount, ends) in enumerate(
        ((1_250_00, "paid"), (666_01, "paid"), (980_50, "returned"), (666_10, "paid"))
    ):
        id_ = await looked.pays_out(amount, key=f"salary-2026-11-{number + 1}")
        _ = await looked.admin.confirm(id_)
        if ends == "returned":
            _ = await looked.admin.return_payout(id_)
    id_ = await looked.pays_out(2_400_00, key="salary-2026-11-5")
    _ = await looked.call("session/create", {}, key="order-77")
    order = {"metadata": {"idempotency_key": "order-78"}, "amount_details": {"amount": 10_000}}
    signed = b'{"amount_details": {"amount": 10000}, "metadata": {"idempotency_key": "order-78"}}'
    _ = await looked.call("session/create", order, signed=signed)
    return id_, (await looked.admin.overview())["requests"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
async def test_everyone_can_use_it(width, scheme):
    """It fits the window, axe-core finds no serious barrier, and no value is shown."""
    rules = Rules(wallets={"usd": 10_000_00, "eur": 2_500_00})
    async with looked_into(has_receiver=True, rules=rules, clock=lambda: TIME) as looked:
        id_, refused = await example(looked)
        window = {"width": width, "height": 720}
        async with opened(looked, viewport=window, color_scheme=scheme) as page:
            for name, path in (
                ("sessions", ""),
                ("session", f"sessions/{id_}"),
                ("requests", "requests"),
                ("request", f"requests/{refused}"),
                ("webhooks", "webhooks"),
                ("webhook", "webhooks/1"),
                ("settings", "settings"),
            ):
                _ = await page.goto(f"{looked.provider.url}/emulator/{path}")
                await expect(page.locator("#live")).to_have_text("Live")
                assert await overflow(page) == 0, name
                assert await barriers(page) == [], name
                assert "Anna" not in await page.content()
                if KEEPS_IMAGES and (width, scheme, name in SHOWN) == (1280, "light", True):
                    # The policy forbids the style by which Playwright hides the caret.
                    file = IMAGES / f"emulator-{name}.png"
                    _ = await page.screenshot(path=file, caret="initial")
