"""The page of forecast evaluation: which baselines were beaten, and whether intervals held."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.flow.forecast.evaluation import Evaluation
from neva.languages.english import number, part, share, signed
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.flow_scores import (
    SKILL_FLOOR,
    skill_chart,
)
from neva.reports.pages.flow_reliability import clock_figure, reliability_blocks
from neva.reports.pages.flow_words import hours_ahead, is_known, listed, local, place_name
from neva.reports.pages.page import Cell, Details, Figure, Page, Panel, Section, Table, Text
from neva.statistics.intervals import proportion_interval

__all__ = ["evaluation_page"]

#: So many comparisons that were lost are named one by one.
MOST_NAMED: Final = 6
#: What a 90 % interval claims.
CLAIMED: Final = 0.9


def evaluation_page(judged: Evaluation, *, made: datetime, synthetic: bool) -> Page:
    """Lay out how good forecasts were.

    Parameters
    ----------
    judged : Evaluation
    made : datetime
        Aware; printed on the page.
    synthetic : bool
        Synthetic patients: a banner says so.

    Returns
    -------
    Page
        Skill against each baseline with its interval, scores beside their
        noise floor, coverage, calibration, occasions that were refused.
    """
    skills = judged.skills()
    mine = judged.scores.filter(model=judged.ours)
    origins = mine["origin"].unique().sort()
    first, last = (local(origins[at], judged.zone, with_year=True) for at in (0, -1))
    sections = [Section("Against the baselines", _skill_blocks(judged, skills))]
    sections.append(Section("Scores", _score_blocks(judged)))
    sections.append(Section("Do the chances hold?", reliability_blocks(judged)))
    if mine["hour"].n_unique() > 1:
        sections.append(Section("By hour of the day", (clock_figure(judged),)))
    sections.append(Section("Not judged", _refused_blocks(judged)))
    return Page(
        title=f"Forecast accuracy: {judged.what}",
        lead=(*_verdict(skills, judged.what), _coverage_text(mine)),
        sections=tuple(sections),
        facts=(
            ("data version", judged.identity),
            ("judged", f"{judged.what}; model: {judged.ours}"),
            (
                "origins",
                (
                    f"{number(len(origins))}, from {first} to {last} ({judged.zone}); at each one "
                    "only what was known then"
                ),
            ),
            (
                "occasions",
                (
                    f"{number(mine.height)} judged (place, horizon and origin), "
                    f"{number(judged.refused.height)} refused"
                ),
            ),
            ("seed", f"{judged.seed}, of the bootstrap"),
            *(("assumed", note) for note in judged.notes),
        ),
        made=made,
        synthetic=synthetic,
    )


def _named(row: dict[str, Any], what: str) -> str:
    return (
        f"{place_name(row['place'], what)} {hours_ahead(row['horizon_hours'])} ahead "
        f"({row['baseline']})"
    )


def _verdict(skills: pl.DataFrame, what: str) -> list[Text]:
    if not skills.height:
        return [Text("There is no baseline to compare with.", "warning")]
    better, worse = int(skills["better"].sum()), int(skills["worse"].sum())
    texts = [
        Text(
            f"The forecast is better than a baseline in {better} of {skills.height} comparisons "
            f"(place, horizon, baseline), worse in {worse}; in {skills.height - better - worse} "
            "the data cannot tell.",
            "strong",
        )
    ]
    by_baseline = (
        skills.group_by("baseline", maintain_order=True)
        .agg(pl.len().alias("all"), pl.col("better", "worse").sum())
        .sort("baseline")
    )
    texts += [
        Text(
            f"Against {row['baseline']}: better in {row['better']} of {row['all']}, worse in "
            f"{row['worse']}.",
            "small",
        )
        for row in by_baseline.iter_rows(named=True)
    ]
    lost = skills.filter("worse")
    if lost.height:
        names = [_named(row, what) for row in lost.head(MOST_NAMED).iter_rows(named=True)]
        more = f" and {lost.height - MOST_NAMED} more" if lost.height > MOST_NAMED else ""
        texts.append(Text(f"Worse than the baseline: {', '.join(names)}{more}.", "warning"))
    return texts


def _coverage_text(mine: pl.DataFrame) -> Text:
    held = share(float(mine["in90"].mean()), digits=0)  # type: ignore[arg-type]
    half = share(float(mine["in50"].mean()), digits=0)  # type: ignore[arg-type]
    return Text(
        f"90 % intervals held {held} of {number(mine.height)} outcomes, 50 % intervals {half}. "
        "Counts are whole: intervals that are right hold a little more than they claim."
    )


def _skill_blocks(
    judged: Evaluation, skills: pl.DataFrame
) -> tuple[Text | Table | Figure | Details, ...]:
    if not skills.height:
        return (Text("No baseline was judged on the same occasions."),)
    drawn = skills.filter(pl.col("skill").is_finite())
    missing = skills.height - drawn.height
    bare = drawn.filter(~pl.col("skill_low").is_finite()).height
    panels = []
    for place in drawn["place"].unique(maintain_order=True):
        rows = drawn.filter(place=place)
        description = "; ".join(
            f"{row['baseline']} {hours_ahead(row['horizon_hours'])} {_skill(row)}"
            for row in rows.iter_rows(named=True)
        )
        counts = rows["occasions"].to_list()
        few, most = min(counts), max(counts)
        span = f"{few}" if few == most else f"{few} to {most}"
        name = place_name(place, judged.what)
        panels.append(
            Panel(
                to_svg(skill_chart(drawn, place)),
                f"Skill with 95 % intervals in {name}: {description}.",
                f"{name}: {span} occasions each",
            )
        )
    caption = (
        "Right of 0 the forecast is better; 100 % would be no error at all. 95 % intervals of a "
        "block bootstrap over origins. Circle: better; diamond: the interval of the difference "
        f"holds zero; square: worse. Hollow: without an interval. "
        f"What is below {part(SKILL_FLOOR)} is drawn there."
    ).replace("-100%", "−100 %")
    blocks: list[Text | Table | Figure | Details] = [Figure(tuple(panels), caption, size="medium")]
    if bare:
        blocks.append(
            Text(
                f"{bare} of {skills.height} have no interval of the share: at some origin the "
                "baseline made no error. Their verdict is that of the difference, in the table.",
                "small",
            )
        )
    if missing:
        blocks.append(
            Text(
                f"{missing} of {skills.height} comparisons are not drawn: the baseline made no "
                "error there, and no share of it can be gone.",
                "small",
            )
        )
    blocks.append(
        Details(
            f"All {skills.height} comparisons as a table",
            (
                Table(
                    "Skill (CRPS) with 95 % intervals, and the difference of the mean CRPS in "
                    "patients (below 0 is better)",
                    (
                        Cell("place", is_text=True), Cell("ahead"), Cell("baseline", is_text=True),
                        Cell("occasions"), Cell("skill"), Cell("difference"),
                        Cell("verdict", is_text=True),
                    ),
                    tuple(_skill_row(row, judged.what) for row in skills.iter_rows(named=True)),
                ),
            ),
        )
    )  # fmt: skip
    return tuple(blocks)


def _skill(row: dict[str, Any]) -> str:
    if not is_known(row["skill"]):
        return "–"
    skill, low, high = (signed(100 * row[one], 0) for one in ("skill", "skill_low", "skill_high"))
    return f"{skill} %" if not is_known(row["skill_low"]) else f"{skill} % ({low} to {high})"


def _skill_row(row: dict[str, Any], what: str) -> tuple[Cell, ...]:
    verdict = "better" if row["better"] else "worse" if row["worse"] else "not told apart"
    return (
        Cell(place_name(row["place"], what), is_text=True),
        Cell(hours_ahead(row["horizon_hours"])),
        Cell(row["baseline"], is_text=True),
        Cell(number(row["occasions"])),
        Cell(_skill(row)),
        Cell(
            f"{signed(row['difference'], 2)} ({signed(row['difference_low'], 2)} to "
            f"{signed(row['difference_high'], 2)})"
        ),
        Cell(verdict, is_text=True, is_strong=verdict != "not told apart"),
    )


def _scores(judged: Evaluation) -> pl.DataFrame:
    """The summary with an exact interval of the coverage of 50 % intervals too."""
    table = judged.summary()
    inside = (table["coverage50"] * table["occasions"]).round().cast(pl.Int64)
    held = proportion_interval(inside.to_numpy(), table["occasions"].to_numpy())
    return table.with_columns(
        coverage50_low=pl.Series(held.lower), coverage50_high=pl.Series(held.upper)
    )


def _covered(row: dict[str, Any], level: int) -> Cell:
    low, high = row[f"coverage{level}_low"], row[f"coverage{level}_high"]
    is_off = not low <= level / 100 <= high
    return Cell(
        share(row[f"coverage{level}"], digits=0),
        small=f"{number(100 * low, 0)}–{number(100 * high, 0)}{' ≠' if is_off else ''}",
        is_strong=is_off,
    )


def _score_row(row: dict[str, Any], what: str, *, with_model: bool) -> tuple[Cell, ...]:
    return (
        Cell(place_name(row["place"], what), is_text=True),
        Cell(hours_ahead(row["horizon_hours"])),
        *((Cell(row["model"], is_text=True),) if with_model else ()),
        Cell(number(row["occasions"])),
        Cell(number(row["crps"], digits=2), small=f"floor {row['noise_floor']:.2f}"),
        _covered(row, 50),
        _covered(row, 90),
        Cell(number(row["width90"], digits=1)),
        Cell(number(row["mae"], digits=2)),
        Cell(signed(row["bias"], 2)),
    )


def _head(*, with_model: bool) -> tuple[Cell, ...]:
    return (
        Cell("place", is_text=True),
        Cell("ahead"),
        *((Cell("model", is_text=True),) if with_model else ()),
        Cell("occasions"),
        Cell("CRPS", small="patients"),
        Cell("in 50 %", small="95 % interval"),
        Cell("in 90 %", small="95 % interval"),
        Cell("width of 90 %", small="patients"),
        Cell("MAE", small="patients"),
        Cell("bias", small="forecast − outcome"),
    )


def _score_blocks(judged: Evaluation) -> tuple[Text | Table | Figure | Details, ...]:
    table = _scores(judged)
    ours = table.filter(model=judged.ours)
    others = table.filter(pl.col("model") != judged.ours)
    blocks: list[Text | Table | Figure | Details] = [
        Table(
            "The forecast; means over occasions. The floor is the CRPS that the forecast expects "
            "of itself: near it, there is nothing left to gain. ≠ and bold: the exact 95 % "
            "interval of the coverage does not hold the claim.",
            _head(with_model=False),
            tuple(
                _score_row(row, judged.what, with_model=False) for row in ours.iter_rows(named=True)
            ),
        ),
        Text(
            "CRPS: the distance between the forecast distribution and the outcome; for a single "
            "number, the absolute error. Intervals of coverage take occasions as "
            "independent; those of neighbouring days are not, and the intervals are a little "
            "too narrow.",
            "small",
        ),
    ]
    if others.height:
        rows = [
            _score_row(row, judged.what, with_model=True) for row in others.iter_rows(named=True)
        ]
        names = listed(sorted(set(others["model"])))
        blocks.append(
            Details(
                f"The same of the baselines ({names})",
                (Table("Baselines", _head(with_model=True), tuple(rows)),),
            )
        )
    return tuple(blocks)


def _refused_blocks(judged: Evaluation) -> tuple[Text | Table | Figure | Details, ...]:
    if not judged.refused.height:
        return (Text("Every occasion was judged; none was refused."),)
    counted = (
        judged.refused.group_by("reason", "place")
        .agg(occasions=pl.len(), first=pl.col("time").min(), last=pl.col("time").max())
        .sort("reason", "place")
    )
    total = number(judged.refused.height)
    rows = [
        (
            Cell(row["reason"], is_text=True),
            Cell(place_name(row["place"], judged.what), is_text=True),
            Cell(number(row["occasions"])),
            Cell(_day(row["first"], judged.zone), is_text=True),
            Cell(_day(row["last"], judged.zone), is_text=True),
        )
        for row in counted.iter_rows(named=True)
    ]
    table = Table(
        f"{total} occasions that could not be forecast or evaluated",
        (
            Cell("reason", is_text=True), Cell("place", is_text=True), Cell("occasions"),
            Cell("first", is_text=True), Cell("last", is_text=True),
        ),
        tuple(rows),
    )  # fmt: skip
    return (table,)


def _day(time: datetime | None, zone: str) -> str:
    return "–" if time is None else local(time, zone, with_year=True)
