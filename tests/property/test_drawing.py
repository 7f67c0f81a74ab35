"""The picture of a map: nothing overlaps, nothing is touched, nothing is outside."""

import xml.etree.ElementTree as ET
from itertools import combinations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import pathway_logs as logs

from neva.pathways import discover_map, draw_map, log_from_frame
from neva.pathways.drawing import arrange

relaxed = settings(deadline=None, max_examples=60)

names = st.one_of(
    st.sampled_from(
        ["А_врач", "ЖЗ(«КТ»)_оператор", "ER Sepsis Triage", "<&\">'", "x" * 60, "漢字"]
    ),
    st.text(max_size=30),
)
logs_of_names = st.lists(names, min_size=1, max_size=9, unique=True).flatmap(
    lambda labels: st.lists(
        st.lists(st.sampled_from(labels), min_size=1, max_size=14), min_size=1, max_size=14
    )
)
shares = st.one_of(st.none(), st.floats(0, 1))


def map_of(cases):
    rows = [
        (str(number), name, at) for number, case in enumerate(cases) for at, name in enumerate(case)
    ]
    case, activity, sequence = zip(*rows, strict=True)
    time = pl.Series(sequence, dtype=pl.Int64) * 3_600_000_000
    return discover_map(
        log_from_frame(
            pl.DataFrame(
                {
                    "case": case,
                    "activity": activity,
                    "sequence": sequence,
                    "time": time.cast(pl.Datetime("us")),
                }
            )
        )
    )


def overlap(a, b, room=0.0):
    return (
        a.x + a.width + room > b.x
        and b.x + b.width + room > a.x
        and a.y + a.height + room > b.y
        and b.y + b.height + room > a.y
    )


def inside(point, box, room):
    return (
        box.x - room < point[0] < box.x + box.width + room
        and box.y - room < point[1] < box.y + box.height + room
    )


def check(picture):
    layout, boxes = picture.layout, picture.layout.places
    labels = [route.label for route in layout.routes] + picture.loop_labels()
    for a, b in combinations(boxes, 2):
        assert not overlap(a, b, room=5)
    for label in labels:
        assert not any(overlap(label, box) for box in boxes)
    for a, b in combinations(labels, 2):
        assert not overlap(a, b)
    index = {
        None: None,
        **{what.activity: i for i, what in enumerate(picture.places) if what.activity is not None},
    }
    start, end = len(boxes) - 2, len(boxes) - 1
    for what, route in zip(picture.paths, layout.routes, strict=True):
        source = start if what.source is None else index[what.source]
        target = end if what.target is None else index[what.target]
        line = route.sampled()
        for number, box in enumerate(boxes):
            if number not in (source, target):
                assert not any(inside(point, box, what.stroke / 2) for point in line)
            else:
                assert not any(inside(point, box, -0.01) for point in line)
        for number, label in enumerate(labels):
            if number >= len(layout.routes) or layout.routes[number] is not route:
                assert not any(inside(point, label, 0) for point in line)
        first, last = line[0], line[-1]
        assert boxes[source].x < first[0] < boxes[source].x + boxes[source].width
        assert boxes[target].x < last[0] < boxes[target].x + boxes[target].width
        assert (last[1] < first[1]) == route.back
    for box in [*boxes, *labels]:
        assert box.x >= -1e-6
        assert box.x + box.width <= layout.width + 1e-6
        assert box.y >= -1e-6
        assert box.y + box.height <= layout.height + 1e-6
    for what, route in zip(picture.paths, layout.routes, strict=True):
        for x, y in route.sampled():
            assert what.stroke / 2 - 1e-6 <= x <= layout.width - what.stroke / 2 + 1e-6
            assert 0 <= y <= layout.height


@relaxed
@given(logs_of_names, shares)
def test_nothing_overlaps_and_no_path_touches_what_is_not_its_own(cases, share):
    check(arrange(map_of(cases), paths=share))


@relaxed
@given(logs_of_names, shares)
def test_every_activity_lies_between_start_and_end(cases, share):
    of = map_of(cases)
    picture = arrange(of, paths=share)
    forward, backward = {}, {}
    for source, target, *_ in picture.detail.paths:
        forward.setdefault(source, set()).add(target)
        backward.setdefault(target, set()).add(source)

    def reach(graph, root):
        found, stack = {root}, [root]
        while stack:
            for node in graph.get(stack.pop(), ()):
                if node not in found:
                    found.add(node)
                    stack.append(node)
        return found

    everything = {-1, -2, *range(of.nodes.height)}
    assert everything == reach(forward, -1) == reach(backward, -2)
    assert picture.detail.shown <= picture.detail.total == of.edges.height
    if share == 1:
        assert picture.detail.shown == picture.detail.total


@relaxed
@given(logs_of_names)
def test_the_svg_is_well_formed_and_the_same_every_time(cases):
    def link(a, b):
        return f"?a={len(a)}&b={b is None}"

    svg = draw_map(map_of(cases), link=link, title="<map>")
    assert svg == draw_map(map_of(list(cases)), link=link, title="<map>")
    root = ET.fromstring(svg)
    places = set(map_of(cases).nodes["activity"])
    links = root.findall(".//{*}a")
    assert len(links) >= len(places)
    assert all(a.find("{*}title").text for a in links)


@pytest.mark.parametrize("share", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["sepsis", "monitoring", "covid", "running_example", "receipt"])
def test_real_maps(name, share):
    check(arrange(discover_map(getattr(logs, name)()), paths=share))


def test_the_picture_says_what_share_of_paths_it_shows():
    of = discover_map(logs.sepsis())
    assert "115 of 115 paths · 16 activities · 1,050 cases" in draw_map(of, paths=1.0)
    assert "38 of 115 paths, 91 % of steps" in draw_map(of)
