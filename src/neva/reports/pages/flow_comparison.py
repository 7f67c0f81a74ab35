"""The page of scenarios: differences, beds for a level of service, and validation."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.flow.simulation.agreement import Agreement
from neva.flow.simulation.calibration import Calibrated
from neva.flow.simulation.compare import Comparison, ServiceSearch
from neva.flow.simulation.hospital_fit import FittedHospital
from neva.languages.english import number
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.flow import SCENARIOS, scenario_chart
from neva.reports.pages.flow_agreement import agreement_section, agreement_words
from neva.reports.pages.flow_beds import mean_beds, pool_blocks, service_blocks
from neva.reports.pages.flow_calibration import calibration_sections, calibration_verdict
from neva.reports.pages.flow_words import (
    FIGURE_NAMES,
    SHARES,
    SHORT_NAMES,
    listed,
    local,
    signed,
    value,
)
from neva.reports.pages.page import Cell, Details, Figure, Page, Panel, Section, Table, Text

__all__ = ["comparison_page"]

#: Up to so many days, patients are drawn hour by hour; beyond, as means of days.
HOURLY_DAYS: Final = 7
NO_PROMISE: Final = (
    "simulated from records of the past: what would happen if everything else stayed the same"
)
#: Marks a difference whose interval excludes zero, besides bold.
DIFFERS: Final = "●"
#: Figures of units that a reader decides by; the others are folded away.
KEY: Final = (
    "occupied_beds",
    "occupancy",
    "waited_share",
    "wait_hours",
    "boarding_hours_per_day",
    "refused",
    "cancelled",
    "diverted",
)


def comparison_page(
    comparison: Comparison,
    *,
    checked: Calibrated | None,
    check_note: str,
    agreement: Agreement | None,
    agreement_note: str,
    search: ServiceSearch | None,
    fitted: FittedHospital,
    made: datetime,
    synthetic: bool,
) -> Page:
    """Lay out scenarios beside the hospital as it is.

    Parameters
    ----------
    comparison : Comparison
        Its first scenario is what the others are compared to.
    checked : Calibrated or None
        Simulated against observed days; shown with every scenario.
    check_note : str
        Why there is no check, where there is none: shown in its place.
    agreement : Agreement or None
        The hospital as it is beside the forecast of the same time.
    agreement_note : str
        Why nothing was compared, where it is missing.
    search : ServiceSearch or None
        Beds of one unit for a service.
    fitted : FittedHospital
        The hospital as it is, with what was assumed.
    made : datetime
        Aware; printed on the page.
    synthetic : bool
        Synthetic patients: a banner says so.

    Returns
    -------
    Page
    """
    runs = comparison.runs
    base = next(iter(runs.values()))
    zone, start = fitted.sojourns.zone, local(base.start, fitted.sojourns.zone, with_year=True)
    verdict = (
        [Text(_sentence(check_note or "not checked against the past"), "warning")]
        if checked is None
        else calibration_verdict(checked)
    )
    sections = [
        Section("The whole hospital", (_whole(comparison),)),
        Section("Units", _units(comparison)),
        Section("Patients over time", (_fans(comparison),)),
    ]
    if search is not None:
        sections.append(
            Section(f"Beds for a service: {search.unit}", service_blocks(search, base.days))
        )
    sections.append(Section("How full is too full?", pool_blocks(comparison)))
    if checked is None:
        sections.append(Section("Checked against the past?", tuple(verdict)))
    else:
        sections += calibration_sections(checked, zone)
    sections.append(agreement_section(agreement, agreement_note, zone))
    warm = f", after {base.warm_up_days:g} days not counted" if base.warm_up_days else ""
    return Page(
        title="Scenarios compared with the hospital as it is",
        lead=(
            *verdict,
            *_difference_texts(comparison),
            Text(_sentence(agreement_words(agreement, agreement_note)[0])),
            Text(
                f"{base.replications} replications of {base.days:g} days from {start}{warm}, the "
                f"same patients in each scenario; {NO_PROMISE}.",
                "small",
            ),
        ),
        sections=tuple(sections),
        facts=(
            ("data version", fitted.sojourns.identity),
            ("scenarios", ", ".join(runs)),
            (
                "simulated",
                (
                    f"{base.replications} replications of {base.days:g} days from {start} ({zone})"
                    f"{warm}; seed {base.seed}"
                ),
            ),
            (
                "learnt from",
                (
                    f"{number(fitted.sojourns.cases)} cases known by "
                    f"{local(fitted.sojourns.now, zone, with_year=True)}; "
                    f"{number(len(fitted.model.initial))} patients present at the start"
                ),
            ),
            (
                "intervals",
                (
                    "95 %, of means over replications: how exactly the simulation is known, not "
                    "how well it fits"
                ),
            ),
            *(("assumed", note) for note in fitted.notes),
        ),
        made=made,
        synthetic=synthetic,
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _change(row: dict[str, Any]) -> str:
    """Write a difference with its interval."""
    figure = row["figure"]
    points = " points" if figure in SHARES else ""
    low, high = (signed(figure, row[f"difference_{end}"]) for end in ("lower", "upper"))
    return f"{signed(figure, row['difference'])}{points} ({low} to {high})"


def _difference_texts(comparison: Comparison) -> list[Text]:
    """Say for each scenario what differs of the whole hospital."""
    names = list(comparison.runs)
    texts = []
    for name in names[1:]:
        mine = comparison.frame.filter(pl.col("scenario") == name)
        whole = mine.filter(pl.col("unit").is_null(), "differs")
        units = mine.filter(pl.col("unit").is_not_null(), "differs")["unit"].unique().sort()
        parts = [
            f"{SHORT_NAMES.get(row['figure'], row['meaning'])} {_change(row)}"
            for row in whole.iter_rows(named=True)
        ]
        text = "; ".join(parts) if parts else "no figure of the whole hospital differs"
        among = f" Figures of {len(units)} units differ." if len(units) else " No unit differs."
        texts.append(Text(f"{name}: {text}.{among}"))
    if not texts:
        texts.append(Text("There is one scenario only: nothing to compare."))
    return texts


def _cells(rows: dict[str, dict[str, Any]], names: list[str]) -> list[Cell]:
    cells = []
    for number_, name in enumerate(names):
        row = rows.get(name)
        if row is None:
            cells.append(Cell("–"))
        elif not number_:
            cells.append(Cell(value(row["figure"], row["mean"])))
        else:
            differs = bool(row["differs"])
            cells.append(
                Cell(
                    f"{value(row['figure'], row['mean'])}{f' {DIFFERS}' if differs else ''}",
                    small=_change(row),
                    is_strong=differs,
                )
            )
    return cells


def _table(frame: pl.DataFrame, names: list[str], caption: str, *, with_unit: bool) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for (unit, figure), part in frame.group_by("unit", "figure", maintain_order=True):
        by_name = {row["scenario"]: row for row in part.iter_rows(named=True)}
        meaning = FIGURE_NAMES.get(str(figure), part["meaning"][0])
        is_again = with_unit and bool(rows) and rows[-1][0].text == unit
        first = (Cell(str(unit), is_text=True, is_again=is_again),) if with_unit else ()
        rows.append((*first, Cell(meaning, is_text=True), *_cells(by_name, names)))
    head = (Cell("unit", is_text=True),) if with_unit else ()
    return Table(
        caption,
        (*head, Cell("figure", is_text=True), *(Cell(name) for name in names)),
        tuple(rows),
    )


def _whole(comparison: Comparison) -> Table:
    return _table(
        comparison.frame.filter(pl.col("unit").is_null()),
        list(comparison.runs),
        f"Means over replications; below, the difference with its paired 95 % interval. Bold and "
        f"{DIFFERS}: the interval excludes zero.",
        with_unit=False,
    )


def _units(comparison: Comparison) -> tuple[Text | Table | Figure | Details, ...]:
    names = list(comparison.runs)
    frame = comparison.frame.filter(pl.col("unit").is_not_null())
    moved = frame.filter("differs").select("unit", "figure").unique()
    changed = frame.filter(pl.col("figure").is_in(KEY)).join(
        moved, on=["unit", "figure"], how="semi", maintain_order="left"
    )
    # The frame is sorted by scenario first; a reader looks for a unit.
    order = {unit.name: k for k, unit in enumerate(comparison.runs[names[0]].model.units)}
    by_unit = pl.col("unit").replace_strict(order, default=len(order), return_dtype=pl.Int64)
    blocks: list[Text | Table | Figure | Details] = []
    if changed.height:
        blocks.append(
            _table(
                changed.sort(by_unit, maintain_order=True),
                names,
                "Main figures of units that differ in a scenario, with the paired difference",
                with_unit=True,
            )
        )
    calm = [name for name in order if name not in set(moved["unit"])]
    if calm:
        blocks.append(Text(f"No figure differs of {listed(calm)}.", "small"))
    figures = frame.select("unit", "figure").unique().height
    blocks.append(
        Details(
            f"All {figures} figures of {len(order)} units",
            (
                _table(
                    frame.sort(by_unit, maintain_order=True),
                    names,
                    f"Bold and {DIFFERS}: the paired 95 % interval excludes zero; about one in "
                    "twenty does so by chance.",
                    with_unit=True,
                ),
            ),
        )
    )
    return tuple(blocks)


def _fans(comparison: Comparison) -> Figure:
    names = list(comparison.runs)
    base = comparison.runs[names[0]]
    every = "1h" if base.days <= HOURLY_DAYS else "1d"
    panels = []
    for unit in base.model.units:
        beds = mean_beds(comparison, unit.name)
        means = comparison.frame.filter(unit=unit.name, figure="occupied_beds")
        description = "; ".join(
            f"{row['scenario']} {row['mean']:.1f} patients on average"
            for row in means.iter_rows(named=True)
        )
        counted = "" if beds[0] is None else f": {beds[0]:g} beds"
        panels.append(
            Panel(
                to_svg(scenario_chart(comparison, unit.name, every=every, beds=beds)),
                f"Patients in {unit.name} over time, median and 5 % to 95 %: {description}.",
                f"{unit.name}{counted}",
            )
        )
    legend = [("linegrey", names[0])]
    legend += [(f"s{k % len(SCENARIOS)}", name) for k, name in enumerate(names[1:])]
    legend.append(("bandgrey", f"5 % to 95 % of replications, {names[0]}"))
    spacing = "at full hours" if every == "1h" else "means of days: peaks within a day are higher"
    return Figure(
        tuple(panels),
        f"Patients, {spacing}; median and 5 % to 95 % over {base.replications} replications, of "
        "scenarios as thin lines. Straight, dashed: mean staffed beds of the scenario. Each "
        "chart has its own scale, from 0.",
        tuple(legend),
    )
