"""A run as a picture: a bar for each contender, drawn by hand in SVG."""

from html import escape
from typing import Final

from .contenders import AIOHTTP, CONTENDERS
from .costs import CONCURRENCIES
from .results import LOOP, Results
from .spread import Spread

_LABELS: Final = 410
_BARS: Final = 330
_FIGURES: Final = 60
_ROW: Final = 22
_TITLE: Final = 34
_MARGIN: Final = 12
_OURS: Final = "smartglocal_async"
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}"
    ".bar{fill:#8c959f}.ours{fill:#0969da}.whisker{stroke:#1f2328;stroke-width:1.5}"
    ".ground{fill:#ffffff}"
)


def as_svg(results: Results) -> str:
    """Give a plot of the CPU time per call, as ratios to bare aiohttp, with quartiles."""
    parts, top = list[str](), _MARGIN
    for concurrency in CONCURRENCIES:
        parts.append(
            f'<text class="title" x="{_MARGIN}" y="{top + 14}">Client CPU per call, bare aiohttp '
            f"= 1, {concurrency} in flight</text>"
        )
        top += _TITLE
        ratios = {
            name: results.costs.ratio(LOOP, concurrency, name, AIOHTTP) for name in CONTENDERS
        }
        scale = _BARS / max(spread.high for spread in ratios.values())
        for name, spread in ratios.items():
            parts += _bar(name, spread, scale, top)
            top += _ROW
        top += _MARGIN
    width, height = _LABELS + _BARS + _FIGURES + _MARGIN, top
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="Client CPU per call">'
        f'<style>{_STYLE}</style><rect class="ground" width="{width}" height="{height}"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _bar(name: str, spread: Spread, scale: float, top: int) -> list[str]:
    kind = "bar ours" if name.startswith(_OURS) else "bar"
    low, middle, high = (_LABELS + x * scale for x in (spread.low, spread.median, spread.high))
    line, width = top + 8, f"{middle - _LABELS:.1f}"
    return [
        f'<text x="{_LABELS - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{width}" height="16"/>',
        f'<path class="whisker" d="M{low:.1f} {line}H{high:.1f}"/>',
        f'<text x="{high + 6:.1f}" y="{top + 12}">{spread.median:.2f}</text>',
    ]
