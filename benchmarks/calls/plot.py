"""A run as a picture: a bar for each contender, in SVG."""

from html import escape
from typing import Final

from ..spread import Spread
from .comparison import Comparison, signed
from .contenders import AIOHTTP, CONTENDERS, OURS

_LABELS: Final = 410
_BARS: Final = 330
_FIGURES: Final = 60
_ROW: Final = 22
_TITLE: Final = 34
_MARGIN: Final = 12
_IN_FLIGHT: Final = 50
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}"
    ".bar{fill:#8c959f}.ours{fill:#0969da}.whisker{stroke:#1f2328;stroke-width:1.5}"
    ".ground{fill:#ffffff}"
)


def as_svg(found: Comparison) -> str:
    """Return a plot of the CPU time of a call, as ratios to bare aiohttp, with quartiles."""
    parts, top = list[str](), _MARGIN
    contenders = [each for each in CONTENDERS.values() if each.name in found.costs.labels()]
    under = "Client CPU per call, bare aiohttp"
    for title, of in (
        (f"{under} = 1, signing off", {each.name: each.name for each in contenders}),
        (
            f"{under} and one RSA-2048 signature = 1",
            {each.name: signed(each) for each in contenders},
        ),
    ):
        parts.append(
            f'<text class="title" x="{_MARGIN}" y="{top + 14}">{title}, {_IN_FLIGHT} in '
            "flight</text>"
        )
        top += _TITLE
        ratios = {
            name: found.costs.cpu_ratio(label, of[AIOHTTP.name], _IN_FLIGHT)
            for name, label in of.items()
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
    kind = "bar ours" if name.startswith(OURS.name) else "bar"
    low, middle, high = (_LABELS + x * scale for x in (spread.low, spread.median, spread.high))
    line, width = top + 8, f"{middle - _LABELS:.1f}"
    return [
        f'<text x="{_LABELS - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{_LABELS}" y="{top}" width="{width}" height="16"/>',
        f'<path class="whisker" d="M{low:.1f} {line}H{high:.1f}"/>',
        f'<text x="{high + 6:.1f}" y="{top + 12}">{spread.median:.2f}</text>',
    ]
