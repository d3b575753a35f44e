"""Draw the figures of docs/images from the tables of the code, as SVG.

``python tests/support/state_diagram.py`` writes them; tests/test_figures.py compares them. A figure
depends on the tables alone, so the same tables result in the same bytes.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final

from attrs import frozen

from smartglocal_async.emulator.bank.sessions import STEPS as STAGES
from smartglocal_async.emulator.bank.sessions import SWITCHED, ItemStage, StageEvent, statuses
from smartglocal_async.emulator.settings import Permission, Rules
from smartglocal_async.journal.states import STEPS, Event, Step

_WORDS: Final = {
    StageEvent.START: "started",
    StageEvent.CANCEL: "cancelled",
    StageEvent.CLOSE: "cancelled",
    StageEvent.EXPIRE: "too late",
    StageEvent.DECLINE: "declined",
    StageEvent.FAIL: "3-D Secure failed",
    StageEvent.BREAK: "unexpected error",
    StageEvent.SUCCEED: "completed",
}
"""What an event means to the merchant."""
IMAGES: Final = Path(__file__).parents[2] / "docs/images"
_WIDTH, _HEIGHT = 132, 52
_STEP_X, _STEP_Y = 208, 116
_MARGIN: Final = 24
_LINE: Final = 16
_DOT: Final = 15
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328;text-anchor:middle}"
    ".name{font-weight:600}.note{font-size:11px;fill:#59636e}.left{text-anchor:start}"
    ".ground{fill:#ffffff}.state{fill:#f6f8fa;stroke:#59636e;stroke-width:1.5}"
    ".arrow{stroke:#59636e;stroke-width:1.5;fill:none;marker-end:url(#head)}"
    "#head path{fill:#59636e}"
    ".halo{stroke:#ffffff;stroke-width:4;paint-order:stroke}.letter{font-size:10px;fill:#ffffff}"
)

_HEAD: Final = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z"/></marker></defs>'
)

Edge = tuple[str, str]
Place = tuple[float, float]


@frozen(kw_only=True)
class Figure:
    """What is drawn: states on a grid, arrows between them, and dots in place of long arrows."""

    title: str
    places: Mapping[str, Place]
    """Column and row of each state."""
    arrows: Mapping[Edge, tuple[str, ...]]
    """The events that lead from one state to another."""
    ends: Mapping[str, str]
    """Colour of each state that is also reached from many others, shown as a dot in them."""
    dots: Mapping[Edge, tuple[str, ...]]
    """The events of the steps that are drawn as a dot."""


def payout_steps() -> Figure:
    """Return the figure of the steps of a payout, from the journal's table."""
    ends = {
        Step.NEW.name: "#0969da",
        Step.SUCCEEDED.name: "#1a7f37",
        Step.FAILED.name: "#cf222e",
        Step.UNKNOWN.name: "#9a6700",
        Step.CANCELLED.name: "#59636e",
    }
    arrows: defaultdict[Edge, list[str]] = defaultdict(list)
    dots: defaultdict[Edge, list[str]] = defaultdict(list)
    for (step, event), target in STEPS.items():
        is_far = target.name in ends and event is not Event.RETRIED
        (dots if is_far else arrows)[step.name, target.name].append(event.value)
    return Figure(
        title="The steps of a payout",
        places={
            "NEW": (0, 1),
            "CREATING": (1, 1),
            "STARTING": (2, 1),
            "STARTED": (3, 1),
            "CONFIRMING": (4, 1),
            "CONFIRMED": (5, 1),
            "SENT_ONE_STEP": (2, 0),
            "REFUSED": (1, 2),
            "KEY_USED": (2, 2),
            "CANCELLING": (3, 2),
            "FAILED": (0, 3),
            "SUCCEEDED": (1.6, 3),
            "UNKNOWN": (3.2, 3),
            "CANCELLED": (5, 3),
        },
        arrows={edge: tuple(events) for edge, events in arrows.items()},
        ends=ends,
        dots={edge: tuple(events) for edge, events in dots.items()},
    )


def session_statuses() -> Figure:
    """Return the figure of the statuses of a session, from the emulator's table."""
    rules = Rules(cancel_created=Permission.ALLOW)
    (cancel_created, *_) = (steps for is_on, steps in SWITCHED if is_on(rules))
    arrows: defaultdict[Edge, list[str]] = defaultdict(list)
    for (stage, event), target in {**STAGES, **cancel_created}.items():
        edge = _status(stage, rules), _status(target, rules)
        words = _WORDS.get(event, event.value)
        if edge[0] != edge[1] and words not in arrows[edge]:
            arrows[edge].append(words)
    return Figure(
        title="The statuses of a session",
        places={
            "created": (0, 1),
            "in_progress": (1.45, 1),
            "error": (2.9, 1),
            "accepted": (2.9, 0),
            "cancelled": (1.45, 2.2),
        },
        arrows={edge: tuple(events) for edge, events in arrows.items() if events},
        ends={},
        dots={},
    )


def _status(stage: ItemStage, rules: Rules) -> str:
    """Return the status of a session at a stage of its item, in one of the two spellings."""
    if stage is ItemStage.CREATED:
        return "created"
    return statuses(stage, rules)[0].replace("canceled", "cancelled")


FIGURES: Final = {
    "payout-steps.svg": payout_steps,
    "session-statuses.svg": session_statuses,
}


def drawn(figure: Figure) -> str:
    """Return a figure as an SVG document with a description of every step."""
    columns = max(column for column, _ in figure.places.values())
    rows = max(row for _, row in figure.places.values())
    width = round(2 * _MARGIN + columns * _STEP_X + _WIDTH)
    height = round(2 * _MARGIN + rows * _STEP_Y + _HEIGHT + 2 * _LINE * bool(figure.ends))
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(figure.title)}</title>',
        f'<desc id="desc">{escape(described(figure))}</desc>',
        f"<style>{_STYLE}</style>",
        _HEAD,
        f'<rect class="ground" width="{width}" height="{height}"/>',
        *_arrows(figure),
        *(part for name in figure.places for part in _state(figure, name)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def described(figure: Figure) -> str:
    """Return every step of a figure in words."""
    steps = {**figure.arrows, **figure.dots}
    return ". ".join(
        f"{source} to {target}: {', '.join(events)}" for (source, target), events in steps.items()
    )


def _state(figure: Figure, name: str) -> Iterator[str]:
    x, y = _corner(figure.places[name])
    middle = x + _WIDTH / 2
    colour = figure.ends.get(name)
    border = "" if colour is None else f' style="stroke:{colour};stroke-width:2.5"'
    yield (
        f'<rect class="state" x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"'
        f"{border}/>"
    )
    targets = [target for source, target in figure.dots if source == name]
    line = y + (21 if targets else 31)
    yield f'<text class="name" x="{middle:g}" y="{line:g}">{name}</text>'
    left = middle - (len(targets) - 1) * (_DOT + 3) / 2
    for number, target in enumerate(targets):
        at = left + number * (_DOT + 3)
        yield (
            f'<circle cx="{at:g}" cy="{y + 37:g}" r="{_DOT / 2:g}" fill="{figure.ends[target]}"/>'
        )
        yield f'<text class="letter" x="{at:g}" y="{y + 40.5:g}">{target[0]}</text>'
    if colour is not None:
        reasons = dict.fromkeys(
            event
            for (_, target), events in figure.dots.items()
            if target == name
            for event in events
        )
        letter = f'<tspan font-weight="700" fill="{colour}">{name[0]}</tspan>'
        below = f'x="{middle:g}" y="{y + _HEIGHT + _LINE:g}"'
        yield f'<text class="note" {below}>{letter}: {", ".join(reasons)}</text>'


def _arrows(figure: Figure) -> Iterator[str]:
    for (source, target), events in figure.arrows.items():
        x1, y1 = _corner(figure.places[source])
        x2, y2 = _corner(figure.places[target])
        if source == target:
            left, right, top = x1 + _WIDTH * 0.3, x1 + _WIDTH * 0.7, y1
            path = f"M{left:g} {top:g}c-10 -34 {right - left + 20:g} -34 {right - left:g} 0"
            at = x1 + _WIDTH / 2, y1 - 30
        else:
            (x1, y1), (x2, y2) = _ends((x1, y1), (x2, y2))
            path = f"M{x1:g} {y1:g}L{x2:g} {y2:g}"
            part = 0.62 if abs(x2 - x1) > _STEP_X else 0.5  # Clear of what is above a state.
            at = x1 + (x2 - x1) * part, y1 + (y2 - y1) * part - (6 if y1 == y2 else -4)
        yield f'<path class="arrow" d="{path}"/>'
        yield from _label(events, at, is_level=source != target and y1 == y2)


def _label(events: tuple[str, ...], at: Place, *, is_level: bool) -> Iterator[str]:
    """Yield the words at an arrow, in lines that fit between two states."""
    words = ", ".join(events).split()
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > (11 if is_level else 24):
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    first = at[1] - (len(lines) - 1) * (13 if is_level else 6.5)
    for number, line in enumerate(lines):
        yield f'<text class="note halo" x="{at[0]:g}" y="{first + 13 * number:g}">{line}</text>'


def _corner(place: Place) -> Place:
    """Return the upper left corner of a state, in pixels."""
    column, row = place
    return round(_MARGIN + column * _STEP_X, 1), round(_MARGIN + row * _STEP_Y, 1)


def _ends(source: Place, target: Place) -> tuple[Place, Place]:
    """Return where an arrow leaves one state and meets another: at the sides that face."""
    (x1, y1), (x2, y2) = source, target
    if abs(y2 - y1) < _HEIGHT:
        return (x1 + _WIDTH, y1 + _HEIGHT / 2), (x2, y2 + _HEIGHT / 2)
    if abs(x2 - x1) < _WIDTH or (y2 > y1 and abs(x2 - x1) < _STEP_X * 1.5):
        down = y2 > y1
        shift = 0 if x1 == x2 else (_WIDTH * 0.3 if x2 > x1 else -_WIDTH * 0.3)
        return (
            (x1 + _WIDTH / 2 + shift, y1 + (_HEIGHT if down else 0)),
            (x2 + _WIDTH / 2 - shift, y2 + (0 if down else _HEIGHT)),
        )
    if y2 < y1:
        return (x1 + _WIDTH / 2, y1), (x2, y2 + _HEIGHT / 2)
    return (x1 + _WIDTH, y1 + _HEIGHT / 2), (x2 + _WIDTH / 2, y2)


def main() -> None:
    """Write every figure."""
    IMAGES.mkdir(exist_ok=True)
    for name, figure in FIGURES.items():
        _ = (IMAGES / name).write_text(drawn(figure()), encoding="utf-8")


if __name__ == "__main__":
    main()
