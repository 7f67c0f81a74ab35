"""The page of a replay: the burden of alerts, and the outcomes they would have caught."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import altair as alt
import polars as pl

from neva.decisions.moments import Moments
from neva.decisions.replay import Replay
from neva.decisions.replay_figures import Figures
from neva.languages.english import number, part, share
from neva.reports.charts.drawing import _data, to_svg
from neva.reports.charts.flow import INK, LINE, themed
from neva.reports.pages.page import Cell, Figure, Page, Panel, Section, Table, Text

__all__ = ["replay_page"]

#: Cards for every hundred patient-days above which a ward stops reading them is
#: a matter of the ward; shades only help the eye along the column.
_SHADES: Final = (5.0, 15.0, 30.0)


def _interval(row: Mapping[str, Any], name: str, *, percent: bool = False) -> str:
    low, high = row.get(f"{name}_lower"), row.get(f"{name}_upper")
    if low is None or high is None:
        return ""
    if percent:
        return f"{number(100 * low, 0)} to {part(high)}"
    return f"{number(low, 1)} to {number(high, 1)}"


def _hours(hours: float) -> str:
    """Say a span as people do: days where it is many of them."""
    return f"{hours / 24:g} days" if hours >= 72 and hours % 24 == 0 else f"{hours:g} hours"


def _within(hours: float | None) -> str:
    return "until the end of the stay" if hours is None else f"within {_hours(hours)}"


def _often(result: Replay) -> str:
    return "every hour" if result.every_hours == 1 else f"every {result.every_hours:g} hours"


def _asked(result: Replay, kind: Moments) -> str:
    return {
        "hours": f"Rules for an open record, evaluated {_often(result)} of each stay",
        "starts": "Rules evaluated once, at the start of each stay",
        "discharges": "Rules evaluated once, just before each discharge",
        "orders": "Rules evaluated at each order that they are about, as a draft",
    }[kind]


#: What the moments of a kind are called, and what is said where there are none.
_MOMENTS: Final[dict[Moments, tuple[str, str]]] = {
    "hours": ("hours", "no stays are recorded"),
    "starts": ("stays started", "no stays are recorded"),
    "discharges": ("discharges", "no discharges are recorded"),
    "orders": ("orders", "no orders that it is about are recorded"),
}


def _titles(result: Replay) -> dict[tuple[str, str], str]:
    return {(one.id, one.version): one.title or one.id for one in result.rules}


def _rule(row: Mapping[str, Any], titles: Mapping[tuple[str, str], str]) -> Cell:
    return Cell(titles[row["rule"], row["version"]], small=row["rule"], is_text=True)


def _burden(result: Replay, figures: Figures) -> list[Any]:
    titles = _titles(result)
    blocks: list[Any] = []
    for kind in figures.kinds:
        rows = figures.of(kind).filter(pl.col("unit").is_null()).to_dicts()
        assessed = [row for row in rows if row["assessed"]]
        if kind == "hours":
            blocks += [_burden_figure(assessed, titles), _by_day(result, assessed, titles)]
        elif assessed:
            blocks.append(_by_moment(result, kind, assessed, titles))
        blocks += [
            Text(
                f"{titles[row['rule'], row['version']]} ({row['rule']}): {_MOMENTS[kind][1]}, so "
                "it could not be assessed.",
                "warning",
            )
            for row in rows
            if not row["assessed"]
        ]
    return blocks


def _by_day(
    result: Replay, rows: list[dict[str, Any]], titles: Mapping[tuple[str, str], str]
) -> Table:
    return Table(
        _asked(result, "hours"),
        (
            Cell("rule", is_text=True),
            Cell("stays", small="patient-days"),
            Cell("cards", small="suppressed as repeats"),
            Cell("per 100 days", small="95 % interval"),
            Cell("stays with a card"),
            Cell("not known", small="of its hours"),
        ),
        tuple(
            (
                _rule(row, titles),
                Cell(f"{row['stays']:,}", small=f"{number(row['patient_days'], 0)} days"),
                Cell(f"{row['cards']:,}", small=f"{row['quiet']:,} held back"),
                Cell(
                    number(row["cards_per_100_days"], 1),
                    small=_interval(row, "cards_per_100_days"),
                    shade=sum((row["cards_per_100_days"] or 0) >= limit for limit in _SHADES),
                    is_strong=True,
                ),
                Cell(
                    f"{row['stays_with_card']:,}",
                    small=f"{number(row['cards_per_stay_with_card'], 1)} cards each",
                ),
                Cell(part(row["unknown_share"])),
            )
            for row in rows
        ),
    )


def _by_moment(
    result: Replay,
    kind: Moments,
    rows: list[dict[str, Any]],
    titles: Mapping[tuple[str, str], str],
) -> Table:
    name = _MOMENTS[kind][0]
    return Table(
        _asked(result, kind),
        (
            Cell("rule", is_text=True),
            Cell(name, small="recorded in all"),
            Cell("cards", small="suppressed as repeats"),
            Cell(f"per 100 {name}", small="95 % interval"),
            Cell("not known", small=f"of its {name}"),
        ),
        tuple(
            (
                _rule(row, titles),
                Cell(f"{row['moments']:,}", small=f"of {row['recorded']:,}"),
                Cell(f"{row['cards']:,}", small=f"{row['quiet']:,} held back"),
                Cell(
                    number(row["cards_per_100_moments"], 1),
                    small=_interval(row, "cards_per_100_moments"),
                    is_strong=True,
                ),
                Cell(part(row["unknown_share"])),
            )
            for row in rows
        ),
    )


def _burden_figure(rows: list[dict[str, Any]], titles: Mapping[tuple[str, str], str]) -> Figure:
    points = [
        {
            "rule": titles[row["rule"], row["version"]],
            "value": row["cards_per_100_days"],
            "lower": row["cards_per_100_days_lower"],
            "upper": row["cards_per_100_days_upper"],
        }
        for row in rows
        if row["cards_per_100_days"] is not None
    ]
    base = alt.Chart(_data(points))
    y = alt.Y(
        "rule:N",
        title=None,
        sort=[one["rule"] for one in sorted(points, key=lambda one: -one["value"])],
        axis=alt.Axis(labelLimit=320, ticks=False, domain=False),
    )

    def x(name: str) -> Any:
        return alt.X(f"{name}:Q", title="cards for every 100 patient-days")

    chart = alt.layer(
        base.mark_rule(color=INK, strokeWidth=1.6).encode(x=x("lower"), x2="upper:Q", y=y),
        base.mark_point(filled=True, size=60, color=LINE, opacity=1).encode(x=x("value"), y=y),
    )
    description = "; ".join(f"{one['rule']} {number(one['value'], 1)}" for one in points)
    return Figure(
        (
            Panel(
                to_svg(themed(chart, (460, max(80, 30 * len(points))))), f"Burden: {description}."
            ),
        ),
        "Dots are rates, lines their 95 % intervals over patients.",
        size="large",
    )


def _share_of_count(count: int, rate: Any) -> str:
    return f"{part(rate)} of {number(count)}" if count else "none to judge"


def _caught(result: Replay, rows: list[dict[str, Any]]) -> list[Any]:
    titles = _titles(result)
    judged = [row for row in rows if row.get("outcome") is not None]
    if not judged:
        return []
    made = tuple(
        (
            _rule(row, titles),
            Cell(
                row["outcome"],
                small=f"{row['outcomes']:,} of {row['decided_stays']:,} stays; cards count "
                f"{_within(row['within_hours'])}",
                is_text=True,
            ),
            Cell(
                _share_of_count(row["outcomes"], row["sensitivity"]),
                small=_interval(row, "sensitivity", percent=True),
                is_strong=True,
            ),
            Cell(
                _share_of_count(row["decided_cards"], row["ppv"]),
                small=_interval(row, "ppv", percent=True),
                is_strong=True,
            ),
            Cell(
                number(row["lead_hours"], 1),
                small=(
                    f"{number(row['lead_hours_lower_quartile'], 1)} to "
                    f"{number(row['lead_hours_upper_quartile'], 1)}"
                    if row["lead_hours"] is not None
                    else ""
                ),
            ),
            Cell(f"{row['late_cards']:,}"),
        )
        for row in judged
    )
    table = Table(
        "Against the outcome that each rule warns of"
        if result.is_own
        else "Against one outcome for every rule, not its own",
        (
            Cell("rule", is_text=True),
            Cell("outcome", small="stays with it, of those where it is known", is_text=True),
            Cell("outcomes warned of", small="95 % interval"),
            Cell("cards followed by it", small="95 % interval"),
            Cell("hours before it", small="median, quartiles"),
            Cell("cards after it", small="left out"),
        ),
        made,
    )
    note = Text(
        "Outcomes are looked up with hindsight, at the data cut. One that may still happen then is "
        "neither counted as having happened nor as not.",
        "small",
    )
    return [table, note]


def _done(result: Replay, rows: list[dict[str, Any]]) -> list[Any]:
    titles = _titles(result)
    judged = [row for row in rows if row.get("done_within_hours") is not None]
    if not judged:
        return []
    table = Table(
        "Whether the action of the card was done within its time limit",
        (
            Cell("rule", is_text=True),
            Cell("within", small="time limit of the card"),
            Cell("cards", small="whose time is over"),
            Cell("done after the card", small="95 % interval"),
        ),
        tuple(
            (
                _rule(row, titles),
                Cell(f"{row['done_within_hours']:g} h"),
                Cell(f"{row['over_cards']:,}"),
                Cell(
                    _share_of_count(row["over_cards"], row["done_share"]),
                    small=_interval(row, "done_share", percent=True),
                    is_strong=True,
                ),
            )
            for row in judged
        ),
    )
    note = Text(
        "These rules check an order or remind of a step: there is no outcome that they should warn "
        "of, so no sensitivity. Nobody saw the cards: what was done was done without them.",
        "small",
    )
    return [table, note]


def _sweeps(result: Replay, sweeps: Mapping[str, pl.DataFrame]) -> list[Any]:
    titles = {one.id: one.title or one.id for one in result.rules}
    panels = []
    for name, frame in sweeps.items():
        if frame.height < 3 or "sensitivity" not in frame.columns:
            continue
        rows = [row for row in frame.to_dicts() if row["sensitivity"] is not None]
        if len(rows) < 3:
            continue
        per = "cards_per_100_days" if "cards_per_100_days" in rows[0] else "cards_per_100_moments"
        below = "patient-days" if per == "cards_per_100_days" else _MOMENTS[rows[0]["asked_at"]][0]
        points = [
            {
                "threshold": f"{row['threshold']:.3g}",
                "burden": row[per],
                "caught": row["sensitivity"],
            }
            for row in rows
        ]
        base = alt.Chart(_data(points)).encode(
            x=alt.X(
                "burden:Q",
                title=f"cards for every 100 {below}",
                scale=alt.Scale(domainMin=0),
                axis=alt.Axis(tickCount=5),
            ),
            y=alt.Y(
                "caught:Q",
                title="outcomes warned of",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domainMin=0),
            ),
        )
        chart = alt.layer(
            base.mark_line(color=LINE, strokeWidth=1.5),
            base.mark_point(filled=True, color=LINE, size=40, opacity=1),
            base.mark_text(dx=8, dy=10, fontSize=11, color=INK, align="left").encode(
                text="threshold:N"
            ),
        )
        description = "; ".join(
            f"from {one['threshold']}: {number(one['burden'], 1)} cards, {part(one['caught'])}"
            for one in points
        )
        panels.append(Panel(to_svg(themed(chart, (330, 260))), f"{description}.", titles[name]))
    if not panels:
        return []
    return [
        Figure(
            tuple(panels),
            "Each dot is a threshold of severity (the number beside it): higher ones cost fewer "
            "cards and warn of fewer outcomes. Lower ones than the rule's own were not evaluated.",
            size="medium",
        )
    ]


def _overlap(result: Replay, shared: pl.DataFrame) -> list[Any]:
    rows = shared.filter(pl.col("stays_of_both") > 0).sort("stays_of_both", descending=True)
    if rows.is_empty():
        return []
    titles = {one.id: one.title or one.id for one in result.rules}
    made = tuple(
        (
            Cell(titles[row["rule"]], is_text=True),
            Cell(titles[row["other"]], is_text=True),
            Cell(f"{row['stays_of_both']:,}"),
            Cell(f"{row['stays_of_rule']:,}"),
            Cell(f"{row['stays_of_other']:,}"),
            Cell(f"{row['cards_at_once']:,} of {row['cards_of_rule']:,}"),
        )
        for row in rows.head(12).iter_rows(named=True)
    )
    return [
        Table(
            "Overlap of rules",
            (
                Cell("rule", is_text=True),
                Cell("other rule", is_text=True),
                Cell("stays with both"),
                Cell("with the first"),
                Cell("with the other"),
                Cell("cards at once", small="of the first, within an hour"),
            ),
            made,
        )
    ]


def _units(result: Replay, rows: list[dict[str, Any]]) -> list[Any]:
    titles = _titles(result)
    made = tuple(
        (
            Cell(titles[row["rule"], row["version"]], is_text=True),
            Cell(row["unit"], is_text=True),
            Cell(f"{row['cards']:,}", small=f"{row['quiet']:,} held back"),
            Cell(f"{row['stays_with_card']:,}"),
            Cell(part(row.get("ppv")), small=_interval(row, "ppv", percent=True))
            if row.get("outcome") is not None
            else Cell("", small="warns of no outcome"),
        )
        for row in rows
    )
    return [
        Table(
            "Where the cards would have been shown",
            (
                Cell("rule", is_text=True),
                Cell("unit", is_text=True),
                Cell("cards", small="suppressed as repeats"),
                Cell("stays with a card"),
                Cell("cards followed by the outcome", small="95 % interval"),
            ),
            made,
        )
    ]


def _instead(result: Replay) -> str:
    titles = {one.title for one in result.judged_by.values()}
    if not titles:
        return "No outcome was requested: only burden is shown."
    return f"Every rule is assessed against one outcome, not its own: {next(iter(titles))}."


def replay_page(
    result: Replay,
    figures: Figures,
    shared: pl.DataFrame,
    sweeps: Mapping[str, pl.DataFrame],
    *,
    made: datetime,
) -> Page:
    """Lay out what a replay found.

    Parameters
    ----------
    result : Replay
    figures : Figures
        Of it.
    shared : polars.DataFrame
        Of :func:`neva.decisions.replay_figures.overlap`.
    sweeps : mapping of str to polars.DataFrame
        Rule to its sweep; may be empty.
    made : datetime
        Aware; printed on the page.
    """
    rows = figures.rules.filter(pl.col("unit").is_null()).to_dicts()
    units = figures.rules.filter(pl.col("unit").is_not_null()).to_dicts()
    cards = sum(row["cards"] for row in rows if row["assessed"])
    instead = None if result.is_own else _instead(result)
    lead = [
        Text(
            f"{len(rows)} rules would have shown {cards:,} cards in {result.stays.height:,} stays.",
            "strong",
        ),
        Text(
            "Each was evaluated where it would run at the bedside, with what had been recorded by "
            "then and was not yet withdrawn. Nothing was shown to anybody, and nobody acted: in "
            "practice, a card changes what follows."
        ),
    ]
    if instead is not None:
        lead.append(Text(instead, "warning"))
    assumed = share(result.assumed_share)
    if figures.optimistic:
        lead.append(
            Text(
                f"Optimistic: the time of recording of {assumed} of the events used is assumed, "
                "and they count as known at once. Lead times are too long by the delay of "
                "recording.",
                "warning",
            )
        )
    elif result.assumed_share:
        delays = ", ".join(f"{code} {hours:g} h" for code, hours in result.delays.items())
        lead.append(
            Text(
                f"Recording is assumed for {assumed} of the events used; delays: {delays}.", "small"
            )
        )
    sections = [Section("Burden", tuple(_burden(result, figures)))]
    for title, blocks in (
        ("Outcomes warned of", _caught(result, rows)),
        ("Done after the card", _done(result, rows)),
        ("Higher thresholds", _sweeps(result, sweeps)),
        ("Overlap", _overlap(result, shared)),
        ("By unit", _units(result, units) if units else []),
    ):
        if blocks:
            sections.append(Section(title, tuple(blocks)))
    return Page(
        title="Replay: how these alerts would have performed",
        lead=tuple(lead),
        sections=tuple(sections),
        facts=(
            ("data version", result.identity),
            ("rules", "; ".join(f"{one.id} {one.version}" for one in result.rules)),
            ("asked", "; ".join(_asked(result, kind) for kind in figures.kinds)),
            ("outcomes", instead or "what each rule warns of"),
            ("recording assumed", assumed),
            ("intervals", f"{part(figures.level)}; cards and PPV over patients, others exact"),
            ("validated", "not validated here: figures of the past on the data at hand"),
        ),
        made=made,
        synthetic=result.synthetic,
    )
