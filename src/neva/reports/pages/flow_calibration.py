"""Simulated beside observed, on days held out from fitting: shown with every scenario."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from neva.flow.simulation.calibration import ALL, Calibrated
from neva.languages.english import number, share
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.flow import hours_chart, noons_chart
from neva.reports.pages.flow_words import listed, local, place_name
from neva.reports.pages.page import Cell, Details, Figure, Panel, Section, Table, Text

__all__ = ["calibration_sections", "calibration_verdict"]

#: What the simulated band from 5 % to 95 % claims.
CLAIMED: Final = 0.9
#: So many moves are shown; the others are counted.
MOST_MOVES: Final = 20
_WHAT: Final = "patients by unit"


def calibration_verdict(checked: Calibrated) -> list[Text]:
    """Say whether the simulation reproduced the days that were held out."""
    whole = checked.covered.filter(unit=ALL).row(0, named=True)
    units = checked.covered.filter(pl.col("unit") != ALL)
    failed = units.filter(pl.col("upper") < CLAIMED)["unit"].to_list()
    inside = round(whole["share"] * whole["days"])
    sentence = (
        f"Checked on {whole['days']} days held out from fitting: at noon the patients of the "
        f"whole hospital lay within the simulated 5 % to 95 % on {inside} of {whole['days']} days "
        f"(90 % would be right)"
    )
    doubts = f"; units that were not reproduced: {listed(failed)}" if failed else ""
    if whole["upper"] < CLAIMED or failed:
        return [
            Text(
                f"{sentence}{doubts}. Their simulated figures are to be read with caution.",
                "warning",
            )
        ]
    return [Text(f"{sentence}. No unit fell clearly short.", "good")]


def calibration_sections(checked: Calibrated, zone: str) -> list[Section]:
    """Lay simulated beside observed.

    Parameters
    ----------
    checked : Calibrated
    zone : str
        Of local times.
    """
    days = f"{local(checked.start, zone, with_year=True)} to {local(checked.end, zone)}"
    places = checked.covered["unit"].to_list()
    covered = {row["unit"]: row for row in checked.covered.iter_rows(named=True)}
    legend = (
        ("dot", "observed"),
        ("line", "simulated, median"),
        ("band90", "simulated, 5 % to 95 % of replications"),
    )
    intro = Text(
        f"The hospital was fitted to what was known before {days} and simulated through these "
        f"days, {checked.replications} times. The simulation is compared with what was recorded. "
        f"Data version {checked.identity}."
    )
    noons = Figure(
        tuple(
            Panel(
                to_svg(noons_chart(checked, place, zone)),
                f"Patients of {place_name(place, _WHAT)} at noon, simulated and observed: "
                f"{_inside(covered[place])}.",
                f"{place_name(place, _WHAT)}: {_inside(covered[place])}",
            )
            for place in places
        ),
        "Patients at noon by day. Each chart has its own scale, from 0.",
        legend,
    )
    hours = Figure(
        tuple(
            Panel(
                to_svg(hours_chart(checked, place)),
                _hours_in_words(checked, place),
                place_name(place, _WHAT),
            )
            for place in places
        ),
        "Mean patients by local hour of the day over these days.",
        legend,
    )
    return [
        Section(
            "Checked against the past",
            (*calibration_verdict(checked), intro, _covered(checked), noons),
        ),
        Section("Checked: patients by hour of the day", (hours,)),
        Section(
            "Checked: lengths of stay and moves",
            (
                _unit_stay_table(checked),
                *_paths(checked),
                Details(
                    "Hours until the next unit", (_waits(checked),)
                ),
                *(Text(f"Assumed in the check: {note}.", "small") for note in checked.notes),
            ),
        ),
    ]  # fmt: skip


def _inside(row: dict[str, Any]) -> str:
    return f"inside on {round(row['share'] * row['days'])} of {row['days']} days"


def _hours_in_words(checked: Calibrated, place: str) -> str:
    rows = checked.by_hour.filter(unit=place)
    held = rows.filter(pl.col("observed").is_between("low", "high")).height
    return (
        f"Mean patients of {place_name(place, _WHAT)} by hour of the day: observed lies within "
        f"the simulated 5 % to 95 % in {held} of {rows.height} hours."
    )


def _covered(checked: Calibrated) -> Table:
    rows = []
    for row in checked.covered.iter_rows(named=True):
        is_off = row["upper"] < CLAIMED
        rows.append(
            (
                Cell(place_name(row["unit"], _WHAT), is_text=True),
                Cell(f"{round(row['share'] * row['days'])} of {row['days']}"),
                Cell(share(row["share"], digits=0), is_strong=is_off),
                Cell(f"{share(row['lower'], digits=0)} to {share(row['upper'], digits=0)}"),
                Cell("falls short" if is_off else "within chance", is_text=True,
                     is_strong=is_off),
            )
        )  # fmt: skip
    return Table(
        "Days on which the patients at noon lay within the simulated 5 % to 95 %; exact 95 % "
        "interval, days taken as independent",
        (
            Cell("unit", is_text=True),
            Cell("days"),
            Cell("share", small="90 % is right"),
            Cell("interval"),
            Cell("verdict", is_text=True),
        ),
        tuple(rows),
    )


def _verdict(is_inside: bool | None) -> Cell:
    if is_inside is None:
        return Cell("not simulated", is_text=True)
    return Cell("inside" if is_inside else "outside", is_text=True, is_strong=not is_inside)


def _digit(value: float | None) -> str:
    return number(value, digits=1)


def _unit_stay_table(checked: Calibrated) -> Table:
    return Table(
        "Stays in a unit that began and ended within these days, in hours; simulated median with "
        "5 % to 95 % over replications",
        (
            Cell("unit", is_text=True), Cell("observed stays"), Cell("mean", small="observed"),
            Cell("mean", small="simulated"), Cell("median", small="observed"),
            Cell("median", small="simulated"), Cell("observed median", is_text=True),
        ),
        tuple(
            (
                Cell(row["unit"], is_text=True),
                Cell(number(row["observed"])),
                Cell(_digit(row["observed_mean_hours"])),
                Cell(_digit(row["mean_hours"])),
                Cell(_digit(row["observed_median_hours"])),
                Cell(
                    _digit(row["median_hours"]),
                    small=f"{_digit(row['low'])} to {_digit(row['high'])}",
                ),
                _verdict(row["inside"]),
            )
            for row in checked.stays.iter_rows(named=True)
        ),
    )  # fmt: skip


def _paths(checked: Calibrated) -> tuple[Table | Text, ...]:
    shown = checked.paths.head(MOST_MOVES)
    table = Table(
        "Moves: share of those who left the state, observed and simulated (5 % to 95 %)",
        (
            Cell("from", is_text=True), Cell("to", is_text=True), Cell("observed moves"),
            Cell("share", small="observed"), Cell("share", small="simulated"),
            Cell("observed share", is_text=True),
        ),
        tuple(
            (
                Cell(row["state"], is_text=True),
                Cell(row["next"], is_text=True),
                Cell(number(row["observed"])),
                Cell(share(row["share"])),
                Cell(share(row["median"]), small=f"{share(row['low'])} to {share(row['high'])}"),
                _verdict(row["inside"]),
            )
            for row in shown.iter_rows(named=True)
        ),
    )  # fmt: skip
    left = checked.paths.height - shown.height
    if not left:
        return (table,)
    moves = number(int(checked.paths["observed"].slice(shown.height).sum()))
    return (
        table,
        Text(f"The {shown.height} most frequent; {left} others ({moves} moves) are left out.",
             "small"),
    )  # fmt: skip


def _waits(checked: Calibrated) -> Table:
    return Table(
        "Hours from coming to a unit until the next one, of those who went on; recorded stays hold "
        "waits, no wait of its own is recorded",
        (
            Cell("unit", is_text=True), Cell("observed"), Cell("median", small="observed"),
            Cell("median", small="simulated"), Cell("90 % within", small="observed"),
            Cell("90 % within", small="simulated"),
        ),
        tuple(
            (
                Cell(row["unit"], is_text=True), Cell(number(row["observed"])),
                Cell(_digit(row["observed_p50"])), Cell(_digit(row["p50"])),
                Cell(_digit(row["observed_p90"])), Cell(_digit(row["p90"])),
            )
            for row in checked.waits.iter_rows(named=True)
        ),
    )  # fmt: skip
