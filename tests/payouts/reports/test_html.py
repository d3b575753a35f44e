"""The HTML report: whole, safe, without foreign parts, and readable by everyone."""

import asyncio
import re
import shlex
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from typing import Final

import pytest
from attrs import define, field
from reported import FORMULA, ReportedJournal, mixed_batch

from smartglocal_async.journal.entries import BatchState, Halt, HaltKind
from smartglocal_async.journal.states import Step
from smartglocal_async.payouts.reports import gathering
from smartglocal_async.payouts.reports.html import HtmlReport
from smartglocal_async.payouts.reports.records import ReportCommands

VOID: Final = frozenset({"meta", "br", "hr", "rect"})
CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@define(eq=False)
class Page(HTMLParser):
    """The elements of a page, and its text."""

    tags: list[tuple[str, dict[str, str | None]]] = field(factory=list)
    words: list[str] = field(factory=list)
    open: list[str] = field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag, attrs) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        """Check that the last open element is closed."""
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        """Note a text."""
        if "style" not in self.open:
            self.words.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        """The words of the page."""
        return " ".join(filter(None, self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements with a tag."""
        return [attrs for name, attrs in self.tags if name == tag]


async def page_of(made: ReportedJournal, *, is_open: bool = True) -> tuple[Page, str]:
    """Return the page of a journal, and its source."""
    source = (await made.text(HtmlReport, is_open=is_open)).decode()
    page = Page()
    page.feed(source)
    page.close()
    assert page.open == []
    return page, source


async def test_what_the_page_shows():
    """The result, totals, and all that a person needs for what is unknown."""
    page, _ = await page_of(await mixed_batch())
    for words in (
        "Payouts of may.csv 2 of 6 payouts are paid; 1 failed, 1 cancelled, 1 unknown, 1 open; ",
        "1 of the file not started; 1 needs a person.",
        "Paid 1 100.00 USD",
        "Paid 1 1.234 KWD",
        "In the file: 7 rows, 1.234 KWD, 510.00 USD.",
        "The provider showed fees of 1 paid payouts: 1.25 USD.",
        "k5: 100.00 USD '=1+1, no call can show it",
        "Payee card",
        "smartglocal payouts decide k5 --paid --reason",
        "init intended SENT_ONE_STEP",
        "Open 1 110.00 USD Not started 1 In the file",
        "1 payout is open and 1 row of the file is not started. Pay the file again, with the",
        "Or only settle what was started: smartglocal payouts settle",
        "Failed 1 declined card *** is closed & <i>gone</i>",
        "k3 Jane Roe, ...4321 100.00 USD Failed declined card *** is closed & <i>gone</i>",
        "k4 100.00 USD Cancelled",
        "Payouts settled in each second, by outcome.",
    ):
        assert words in page.text, words


async def test_a_halt_is_shown_first():
    """With its reason."""
    made = await mixed_batch()
    await made.journal.halt(Halt(kind=HaltKind.CONFLICT, reason="k9 was <b>paid</b> twice"))
    page, _ = await page_of(made)
    text = page.text
    assert text.index("All payouts are halted k9 was <b>paid</b> twice") < text.index("Totals")
    assert "end the halt: smartglocal payouts journal resume" in text
    assert "Nothing is paid before the halt is ended. After that: Pay the file again" in text


async def test_no_batch_is_called_running():
    """A batch that is paused has its reason, and the page says what resumes it."""
    made = await mixed_batch()
    page, _ = await page_of(made)
    assert "running" not in page.text
    await made.journal.set_batch_state("may.csv", BatchState.PAUSED, "the wallet is empty")
    page, _ = await page_of(made)
    assert "The batch is paused: the wallet is empty." in page.text
    source = (await made.text(lambda stream: HtmlReport(stream, COMMANDS))).decode()
    assert "is resumed: <code>smartglocal payouts batch resume may.csv" in source


COMMANDS: Final = ReportCommands(
    options=("--journal", "j 1.db", "--server", "demo"), file="may.csv", batch="may.csv"
)


async def test_commands_work_as_they_are_printed():
    """Each has the journal, the server and the file, quoted for a shell."""
    made = await mixed_batch()
    await made.has("k 7", Step.FAILED, code="insufficient_funds")
    await made.has("-k8", Step.UNKNOWN)
    source = (await made.text(lambda stream: HtmlReport(stream, COMMANDS))).decode()
    found = {unescape(one) for one in re.findall(r"<code>(.*?)</code>", source)}
    options = ["--journal", "j 1.db", "--server", "demo"]
    words = {tuple(shlex.split(one)[2:]) for one in found}
    for known in (
        ["settle", "may.csv", *options],
        ["pay", "may.csv", *options],
        ["retry", "may.csv", *options],
        ["reconcile", "REPORT", *options],
        ["decide", "k5", "--paid", "--reason", "WHERE YOU SAW IT", *options],
        ["decide", "--not-paid", "--reason", "WHO CONFIRMED IT", *options, "--", "-k8"],
    ):
        assert tuple(known) in words, known
    assert all(one.startswith("smartglocal payouts ") for one in found)


async def test_thousands_that_were_not_paid(monkeypatch):
    """The first ones are listed, and a note says how many there are."""
    monkeypatch.setattr(gathering, "MAX_UNPAID", 3)
    made = await ReportedJournal().opened()
    for number in range(5):
        await made.has(f"f{number}", Step.FAILED, code="declined")
    page, _ = await page_of(made)
    assert "The first 3 of 5 are listed. An XLSX or a CSV report has all." in page.text
    assert "f2 " in page.text
    assert "f3 " not in page.text


async def test_what_a_payout_holds_is_text():
    """Markup in names, keys and reasons is shown, not run; formulas have an apostrophe."""
    made = await mixed_batch()
    await made.has('<script>alert("1")</script>', Step.UNKNOWN, payee="<img src=x>, ...4321")
    await made.has(f"{FORMULA}2", Step.UNKNOWN)
    page, source = await page_of(made)
    assert not page.all("script")
    assert not page.all("img")
    assert '<script>alert("1")</script>: 100.00 USD' in page.text
    assert f"'{FORMULA}2: 100.00 USD" in page.text
    assert "<img src=x>, ...4321" in page.text
    assert not re.search(r">\s*=", re.sub(r"<style>.*?</style>", "", source, flags=re.DOTALL))


async def test_it_loads_nothing():
    """No address but those in texts, and a policy that forbids the browser to load one."""
    page, source = await page_of(await mixed_batch())
    names = {name for _, attrs in page.tags for name in attrs}
    assert not names & {"src", "href", "xlink:href", "srcset", "data", "action"}
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"@import|url\(", source)
    (policy,) = (one for one in page.all("meta") if "http-equiv" in one)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


async def test_everyone_can_read_it():
    """Language, title, headings in order, names of plots and tables, and focus for what scrolls."""
    page, _ = await page_of(await mixed_batch())
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= before + 1 for before, later in pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    named = {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs}
    assert named <= set(ids)
    for plot in page.all("svg"):
        assert plot.get("aria-hidden") == "true" or (plot["role"] == "img" and plot["aria-label"])
    for region in (one for one in page.all("div") if one.get("class") == "scroll"):
        assert region["tabindex"] == "0"
        assert region.get("aria-label") or region.get("aria-labelledby")
    names = [one["aria-label"] for _, one in page.tags if "aria-label" in one]
    assert len(names) == len(set(names))
    assert all("scope" in head for head in page.all("th"))
    assert len(page.all("main")) == 1


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


async def test_contrast_in_light_and_dark():
    """Text has 4.5 to 1 or more on each background, and a part of a plot 3 to 1."""
    _, source = await page_of(await mixed_batch())
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in _schemes(source)]
    assert len(schemes) == 2
    for colours in schemes:
        for text in ("text", "soft", "link"):
            for ground in ("page", "card", "code"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for part in ("succeeded", "failed", "cancelled", "unknown", "open"):
            assert contrast(colours[part], colours["card"]) >= 3, part


def _schemes(source: str) -> list[str]:
    return re.findall(r":root \{(.*?)\}", source, re.DOTALL)


async def test_no_payee_without_the_key():
    """The page says why."""
    page, source = await page_of(await mixed_batch(), is_open=False)
    assert "Zoë" not in source
    assert "4321" not in source
    assert "SMARTGLOCAL_JOURNAL_KEY isn't set" in page.text


async def test_a_page_without_payouts():
    """It says so, and has no plots."""
    page, _ = await page_of(await ReportedJournal().opened())
    assert "There are no payouts." in page.text
    assert not page.all("svg")


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
async def test_a_browser_shows_it_without_scrolling_sideways(tmp_path, width):
    """The page is as wide as the window, on a phone and on a desk, with long words, too."""
    made = await mixed_batch()
    await made.has("k" * 180, Step.UNKNOWN, reason="w" * 400, payee="N" * 60)
    source = (await made.text(HtmlReport)).decode()
    # The page itself forbids scripts; a frame around it measures it.
    page = source.replace("default-src 'none'", "script-src 'unsafe-inline'").replace(
        "</body>",
        "<script>document.title = 'wide ' + document.documentElement.scrollWidth</script></body>",
    )
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    command = (
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"),
        *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1000"),
        *("--dump-dom", (tmp_path / "report.html").as_uri()),
    )
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=True, timeout=120
    )
    found = re.search(r"<title>wide (\d+)</title>", done.stdout)
    assert found is not None
    assert int(found[1]) <= max(width, 500)  # Some builds open no window under 500 pixels.
