"""The map as a picture: SVG with real links, readable in print and without colour."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args
from xml.sax.saxutils import escape, quoteattr

from neva.languages.english import ENGLISH
from neva.languages.language import Language
from neva.pathways.detail import END, START, Detail, choose_paths
from neva.pathways.layout import place
from neva.pathways.log import NO_UNIT
from neva.pathways.map import ActivityMap
from neva.pathways.shapes import Box, Layout, PathSpec, PlaceSpec, Point, Route
from neva.pathways.text import clean, text_width, wrap

__all__ = ["MAP_STYLE", "METRICS", "Metric", "Picture", "arrange", "draw_map"]

_NAME_SIZE, _COUNT_SIZE, _LABEL_SIZE, _NOTE_SIZE, _TITLE_SIZE = 13.0, 11.5, 11.0, 11.5, 17.0
_LINE = 1.3
_NAME_WIDTH = 165.0
_PADDING_X, _PADDING_Y = 12.0, 8.0
_MARGIN = 24.0
_LOOP = 30.0  # how far a self-loop reaches out
_PORT = 9.0  # least width of a box per path that ends at it
_STROKE_LEAST, _STROKE_MOST = 1.2, 6.5

_INK, _FORWARD, _BACK, _BOX_EDGE = "#16212c", "#4b6478", "#a34c1f", "#37536c"
_PALE, _DEEP = (243, 247, 250), (174, 205, 230)

_STYLE = (
    "text{font-family:'DejaVu Sans',Verdana,'Segoe UI',Arial,sans-serif;fill:" + _INK + "}"
    f".n{{font-size:{_NAME_SIZE:g}px;font-weight:600}}"
    f".c{{font-size:{_COUNT_SIZE:g}px}}.l{{font-size:{_LABEL_SIZE:g}px}}"
    f".k{{font-size:{_NOTE_SIZE:g}px}}.t{{font-size:{_TITLE_SIZE:g}px;font-weight:600}}"
    ".m{text-anchor:middle}"
    f".p{{fill:none;stroke:{_FORWARD}}}.b{{fill:none;stroke:{_BACK};stroke-dasharray:7 4}}"
    f".a{{fill:{_FORWARD}}}.ab{{fill:{_BACK}}}"
    f".r{{stroke:{_BOX_EDGE};stroke-width:1.2}}.e{{fill:#fff;stroke:{_INK};stroke-width:1.6}}"
    ".w{fill:#fff}a{text-decoration:none}a:hover .r,a:focus .r{stroke-width:3}"
    "a:hover .l,a:focus .l,a:hover .n{text-decoration:underline}"
)


#: What may stand on a path.
Metric = Literal["steps and median", "steps", "cases", "median", "mean", "p90"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)


def _scoped(style: str) -> str:
    """Keep a map's style to the map: inside a page, a style rules the whole page."""
    return re.sub(
        r"([^{}]+)(\{[^{}]*\})",
        lambda rule: ",".join(f".neva-map {part}" for part in rule[1].split(",")) + rule[2],
        style,
    )


#: The one style of every map; a strict content security policy names its hash.
MAP_STYLE: Final = _scoped(_STYLE)


@dataclass(frozen=True)
class _Place:
    """A box to draw: its lines, what it is, and its self-loop if there is one."""

    name: list[str]
    count: str
    tooltip: str
    activity: str | None  # None: start or end
    share: float
    loop: _Path | None = None


@dataclass(frozen=True)
class _Path:
    source: str | None
    target: str | None
    label: str
    tooltip: str
    stroke: float
    frequency: int


@dataclass(frozen=True)
class Picture:
    """A map with a place for everything: what :func:`draw_map` writes out.

    Attributes
    ----------
    layout : Layout
    places : tuple
        What the boxes of the layout are, in their order.
    paths : tuple
        What the routes of the layout are, in their order.
    detail : Detail
        Which paths are shown.
    """

    layout: Layout
    places: tuple[_Place, ...]
    paths: tuple[_Path, ...]
    detail: Detail

    def loop_labels(self) -> list[Box]:
        """Return the boxes of the labels of self-loops."""
        return [
            _loop_label(box, what.loop)
            for box, what in zip(self.layout.places, self.places, strict=True)
            if what.loop
        ]


def arrange(
    of: ActivityMap,
    *,
    paths: float | None = None,
    metric: Metric = "steps and median",
    words: Language = ENGLISH,
) -> Picture:
    """Choose what is shown and place it.

    Parameters
    ----------
    of : ActivityMap
    paths : float, optional
        Share of the paths (0–1); see :func:`neva.pathways.detail.choose_paths`.
    metric : str
        What stands on a path; its width is always its steps.
    words : Language
        The language.
    """
    detail = choose_paths(of, paths)
    rows = of.edges.to_dicts()
    nodes = of.nodes.to_dicts()
    most = max((path[2] for path in detail.paths), default=1)
    drawn, loops = [], {}
    for source, target, frequency, row in detail.paths:
        a = nodes[source]["activity"] if source >= 0 else None
        b = nodes[target]["activity"] if target >= 0 else None
        what = _path(
            a,
            b,
            frequency,
            row=rows[row] if row >= 0 else None,
            most=most,
            of=of,
            metric=metric,
            words=words,
        )
        if source == target:
            loops[source] = what
        else:
            drawn.append((source, target, what))
    degree: dict[int, list[int]] = {}
    for source, target, _ in drawn:
        degree.setdefault(source, [0, 0])[1] += 1
        degree.setdefault(target, [0, 0])[0] += 1
    busiest = max((node["frequency"] for node in nodes), default=1)
    places = [
        _Place(
            name=wrap(node["activity"], _NAME_SIZE, width=_NAME_WIDTH, bold=True),
            count=words.count(node["frequency"]),
            tooltip=clean(node["activity"])
            + words(
                ": %(events)s events in %(cases)s of %(all)s cases (%(share)s)",
                events=words.count(node["frequency"]),
                cases=words.count(node["cases"]),
                all=words.count(of.case_count),
                share=words.part(node["cases"] / max(of.case_count, 1)),
            ),
            activity=node["activity"],
            share=node["frequency"] / busiest,
            loop=loops.get(i),
        )
        for i, node in enumerate(nodes)
    ]
    specs = [
        _spec(box, _order(node), degree.get(i, [0, 0]))
        for i, (node, box) in enumerate(zip(nodes, places, strict=True))
    ]
    cases = words("%(n)s cases", n=words.count(of.case_count))
    n = words.count(of.case_count)
    for number, word, title in (
        (START, words("start"), words("start of %(n)s cases", n=n)),
        (END, words("end"), words("end of %(n)s cases", n=n)),
    ):
        terminal = _Place([word], cases, title, None, 0.0)
        places.append(terminal)
        specs.append(_spec(terminal, -math.inf if number == START else math.inf,
                           degree.get(number, [0, 0])))  # fmt: skip
    position = {START: len(nodes), END: len(nodes) + 1}
    layout = place(
        specs,
        [
            PathSpec(
                position.get(source, source),
                position.get(target, target),
                label_width=text_width(what.label, _LABEL_SIZE) + 8,
                label_height=_LABEL_SIZE * 1.45,
                stroke=what.stroke,
                frequency=what.frequency,
            )
            for source, target, what in drawn
        ],
    )
    return Picture(layout, tuple(places), tuple(what for _, _, what in drawn), detail)


def _order(node: dict[str, float | None]) -> float:
    """Return the place in time; without one (only in cases of one event), the middle."""
    return 0.5 if node["position"] is None else float(node["position"])


def _path(
    source: str | None,
    target: str | None,
    frequency: int,
    *,
    row: dict[str, float | None] | None,
    most: int,
    of: ActivityMap,
    metric: Metric,
    words: Language,
) -> _Path:
    stroke = _STROKE_LEAST + (_STROKE_MOST - _STROKE_LEAST) * math.sqrt(frequency / max(most, 1))
    steps = words.count(frequency)
    names = f"{clean(source) if source is not None else words('start')} → "
    names += clean(target) if target is not None else words("end")
    if row is None:
        tooltip = words(
            "%(names)s: %(n)s cases (%(share)s)",
            names=names,
            n=steps,
            share=words.part(frequency / max(of.case_count, 1)),
        )
        return _Path(source, target, steps, tooltip, stroke, frequency)
    cases = words.count(int(row["cases"] or 0))
    tooltip = words("%(names)s: %(n)s steps in %(cases)s cases", names=names, n=steps, cases=cases)
    times = {name: words.duration(row[name]) for name in ("median", "mean", "p90")}
    label = {"steps": steps, "cases": cases, **times}.get(metric, steps)
    if row["median"] is not None:
        tooltip += words("; median %(median)s, mean %(mean)s, p90 %(p90)s", **times)
        if metric == "steps and median":
            label = f"{steps} · {times['median']}"
    return _Path(source, target, label, tooltip, stroke, frequency)


def _spec(what: _Place, order: float, degree: list[int]) -> PlaceSpec:
    width = max(
        *(text_width(line, _NAME_SIZE, bold=True) for line in what.name),
        text_width(what.count, _COUNT_SIZE),
        max(degree) * _PORT,
    )
    height = len(what.name) * _NAME_SIZE * _LINE + _COUNT_SIZE * _LINE
    beside = 0.0
    if what.loop:
        beside = _LOOP + text_width(what.loop.label, _LABEL_SIZE) + 8
    return PlaceSpec(width + 2 * _PADDING_X, height + 2 * _PADDING_Y, order, beside)


def _loop_label(box: Box, loop: _Path) -> Box:
    width, height = text_width(loop.label, _LABEL_SIZE) + 6, _LABEL_SIZE * 1.45
    return Box(box.x + box.width + _LOOP, box.y + (box.height - height) / 2, width, height)


def draw_map(
    of: ActivityMap,
    *,
    paths: float | None = None,
    link: Callable[[str, str | None], str] | None = None,
    title: str = "",
    metric: Metric = "steps and median",
    words: Language = ENGLISH,
) -> str:
    """Draw a map as SVG.

    Parameters
    ----------
    of : ActivityMap
    paths : float, optional
        Share of the paths to show, 0–1, most frequent first; every
        activity stays connected between start and end. By default as many
        as keep the picture readable.
    link : callable, optional
        ``link(activity, None)`` gives the address of an activity,
        ``link(source, target)`` of a path.
    title : str
        A heading.
    metric : str
        What stands on a path: ``steps and median``, ``steps``, ``cases``,
        ``median``, ``mean`` or ``p90``; its width is always its steps.
    words : Language
        The language; names of activities stay as they are.

    Returns
    -------
    str
        An SVG document; the same map gives the same bytes.
    """
    picture = arrange(of, paths=paths, metric=metric, words=words)
    notes = _notes(of, picture.detail, metric, words)
    layout = picture.layout
    head = _MARGIN + (_TITLE_SIZE * 1.8 if title else 0)
    texts = max(text_width(line, _NOTE_SIZE) for line in notes)
    width = max(
        layout.width, texts, text_width(clean(title), _TITLE_SIZE, bold=True) if title else 0
    )
    left = _MARGIN + (width - layout.width) / 2
    foot = head + layout.height + 18
    height = foot + len(notes) * _NOTE_SIZE * 1.55 + _MARGIN
    width += 2 * _MARGIN
    size = f'width="{_n(width)}" height="{_n(height)}"'
    box = f'viewBox="0 0 {_n(width)} {_n(height)}" {size}'
    name = quoteattr(clean(title) if title else words("activity map"))
    parts = [
        (
            f'<svg class="neva-map" xmlns="http://www.w3.org/2000/svg" {box} '
            f'role="{"img" if link is None else "group"}" aria-label={name}>'
        ),
        f"<style>{MAP_STYLE}</style>",
        f'<rect class="w" {size}/>',
    ]
    if title:
        place_of_title = f'x="{_n(_MARGIN)}" y="{_n(_MARGIN + 12)}"'
        parts.append(f'<text class="t" {place_of_title}>{escape(clean(title))}</text>')
    parts.append(f'<g transform="translate({_n(left)} {_n(head)})">')
    # Thin lines above thick ones, labels above all lines.
    pairs = sorted(zip(picture.paths, layout.routes, strict=True), key=lambda pair: -pair[0].stroke)
    parts += [_line(what, route, link) for what, route in pairs]
    parts += [_label(what, route.label, link) for what, route in pairs]
    for place_, where in zip(picture.places, layout.places, strict=True):
        parts += _box(place_, where, link)
    parts.append("</g>")
    for number, line in enumerate(notes):
        y = foot + (number + 1) * _NOTE_SIZE * 1.55
        parts.append(f'<text class="k" x="{_n(_MARGIN)}" y="{_n(y)}">{escape(line)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _notes(of: ActivityMap, detail: Detail, metric: Metric, words: Language) -> list[str]:
    counts = {"shown": words.count(detail.shown), "all": words.count(detail.total)}
    shown = words("%(shown)s of %(all)s paths", **counts)
    if detail.shown < detail.total:
        part = words.part(detail.shown_steps / max(detail.total_steps, 1))
        shown += words(", %(share)s of steps", share=part)
    counted = words(
        "%(activities)s activities · %(cases)s cases · %(events)s events",
        activities=words.count(of.nodes.height),
        cases=words.count(of.case_count),
        events=words.count(of.event_count),
    )
    on_a_path = {
        "steps and median": words("On a path: steps · median time."),
        "steps": words("On a path: steps."),
        "cases": words("On a path: cases with such a step."),
        "median": words("On a path: median time."),
        "mean": words("On a path: mean time."),
        "p90": words("On a path: the 90th percentile of time."),
    }[metric]
    notes = [
        f"{shown} · {counted}",
        on_a_path + " " + words("Width: steps. Dashed: back to an earlier activity."),
    ]
    if of.ties:
        notes.append(
            words(
                "%(n)s events share their time with another activity of the case; their order "
                "is unknown, sorted by name.",
                n=words.count(of.ties),
            )
        )
    events_left_out = dict(of.left_out or {})
    stays_left_out = events_left_out.pop(NO_UNIT, 0)
    if events_left_out:
        left = "; ".join(
            f"{words.count(n)}: {clean(words(why))}" for why, n in events_left_out.items()
        )
        notes.append(words("Events not shown: %(left)s.", left=left))
    if stays_left_out:
        notes.append(words("Stays without a recorded unit: %(n)s.", n=words.count(stays_left_out)))
    if of.provenance:
        notes.append(words("Cases: %(filters)s.", filters=clean("; ".join(of.provenance))))
    if of.hospital:
        notes.append(
            clean(
                words(
                    "Hospital %(hospital)s, activities %(activities)s.",
                    hospital=of.hospital,
                    activities=of.activities[:12],
                )
            )
        )
    return [line for note in notes for line in wrap(note, _NOTE_SIZE, width=760.0, lines=4)]


def _n(number: float) -> str:
    """Write a coordinate: one decimal, no trailing zero, no negative zero."""
    return f"{round(number, 1) + 0.0:.1f}".removesuffix(".0")


def _linked(inner: str, what: _Place | _Path, link: Callable[[str, str | None], str] | None) -> str:
    inner += f"<title>{escape(what.tooltip)}</title>"
    if link is None:
        return f"<g>{inner}</g>"
    if isinstance(what, _Place):
        address = link(what.activity, None) if what.activity is not None else None
    elif what.source is None or what.target is None:
        address = None
    else:
        address = link(what.source, what.target)
    return f"<g>{inner}</g>" if address is None else f"<a href={quoteattr(address)}>{inner}</a>"


def _curve(points: Iterable[Point]) -> str:
    points = list(points)
    path = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for i in range(1, len(points), 3):
        a, b, c = points[i : i + 3]
        if abs(a[0] - c[0]) < 0.05 and abs(b[0] - points[i - 1][0]) < 0.05:
            path += f"V{_n(c[1])}"
        else:
            path += "C" + " ".join(f"{_n(x)} {_n(y)}" for x, y in (a, b, c))
    return path


def _arrow(stroke: float) -> tuple[float, float]:
    """Return length and half width of an arrowhead."""
    return 7.5 + stroke * 0.5, 2.8 + stroke * 0.62


def _line(what: _Path, route: Route, link: Callable[[str, str | None], str] | None) -> str:
    points = list(route.points)
    (x, y) = points[-1]
    length, half = _arrow(what.stroke)
    up = 1 if route.back else -1
    # The line ends inside the head; the last run is straight and longer than the head.
    points[-1] = (x, y + up * (length - 1))
    kind, head = ("b", "ab") if route.back else ("p", "a")
    base = y + up * length
    return _linked(
        f'<path class="{kind}" stroke-width="{_n(what.stroke)}" d="{_curve(points)}"/>'
        f'<path class="{head}" d="M{_n(x)} {_n(y)}L{_n(x - half)} {_n(base)}'
        f'L{_n(x + half)} {_n(base)}Z"/>',
        what,
        link,
    )


def _label(what: _Path, box: Box, link: Callable[[str, str | None], str] | None) -> str:
    middle = box.x + box.width / 2
    return _linked(
        f'<rect class="w" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" '
        f'height="{_n(box.height)}"/>'
        f'<text class="l m" x="{_n(middle)}" y="{_n(box.y + box.height / 2 + _LABEL_SIZE * 0.36)}">'
        f"{escape(what.label)}</text>",
        what,
        link,
    )


def _box(what: _Place, box: Box, link: Callable[[str, str | None], str] | None) -> list[str]:
    parts = []
    if what.loop:
        parts.append(_self_loop(what.loop, box, link))
    if what.activity is None:
        style, radius = 'class="e"', box.height / 2
    else:
        shade = ",".join(
            str(round(a + (b - a) * math.sqrt(what.share)))
            for a, b in zip(_PALE, _DEEP, strict=True)
        )
        style, radius = f'class="r" fill="rgb({shade})"', 6.0
    inner = (
        f'<rect {style} x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" '
        f'height="{_n(box.height)}" rx="{_n(radius)}"/>'
    )
    middle = box.x + box.width / 2
    y = box.y + _PADDING_Y
    for line in what.name:
        inner += (
            f'<text class="n m" x="{_n(middle)}" y="{_n(y + _NAME_SIZE)}">{escape(line)}</text>'
        )
        y += _NAME_SIZE * _LINE
    inner += (
        f'<text class="c m" x="{_n(middle)}" y="{_n(y + _COUNT_SIZE)}">{escape(what.count)}</text>'
    )
    parts.append(_linked(inner, what, link))
    return parts


def _self_loop(loop: _Path, box: Box, link: Callable[[str, str | None], str] | None) -> str:
    right, middle = box.x + box.width, box.y + box.height / 2
    length, half = _arrow(min(loop.stroke, 3.5))
    spread = box.height * 0.26
    reach = right + _LOOP - 4
    stroke = min(loop.stroke, 3.5)
    label = _loop_label(box, loop)
    start, end = middle - spread, middle + spread
    return _linked(
        f'<path class="p" stroke-width="{_n(stroke)}" d="M{_n(right)} {_n(start)}'
        f"C{_n(reach)} {_n(start - 6)} {_n(reach)} {_n(end)} {_n(right + length - 1)} {_n(end)}"
        f'"/><path class="a" d="M{_n(right)} {_n(end)}L{_n(right + length)} {_n(end - half)}'
        f'L{_n(right + length)} {_n(end + half)}Z"/>'
        f'<text class="l" x="{_n(label.x + 2)}" y="{_n(middle + _LABEL_SIZE * 0.36)}">'
        f"{escape(loop.label)}</text>",
        loop,
        link,
    )
