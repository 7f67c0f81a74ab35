"""Pages of flow: the morning bed report, forecast accuracy, patient trajectories.

The bed report is laid out here; the other pages have modules of their own, and
their names here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from neva.flow.forecast.bed_report import BedReport
from neva.flow.forecast.forecast import OccupancyForecast
from neva.languages.english import chance, number, part
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.flow import fan_chart
from neva.reports.pages.flow_comparison import comparison_page
from neva.reports.pages.flow_evaluation import evaluation_page
from neva.reports.pages.flow_trajectories import trajectories_page
from neva.reports.pages.flow_words import ahead, hours_ahead, listed, local, place_name
from neva.reports.pages.page import Cell, Details, Figure, Page, Panel, Section, Table, Text

__all__ = ["Page", "comparison_page", "evaluation_page", "forecast_page", "trajectories_page"]

#: A chance from which on beds are said to run short; also that of the command.
SHORT: Final = 0.2
#: Chances from which on cells are shaded.
SHADES: Final = (0.05, SHORT, 0.5)
#: So many places get a sentence each; the others are named.
MOST_SENTENCES: Final = 5
NO_CAPACITY: Final = "patients who need a place; capacity is not considered"


def forecast_page(report: BedReport, *, made: datetime, synthetic: bool) -> Page:
    """Lay out the morning bed report.

    Parameters
    ----------
    report : BedReport
    made : datetime
        Aware; printed on the page.
    synthetic : bool
        Synthetic patients: a banner says so.

    Returns
    -------
    Page
        Sentences on where beds run short (of states: on how many patients
        there will be), a table of places and horizons, a fan chart a place.
    """
    forecast = report.forecast
    has_states = forecast.what != "patients by unit"
    beds = {} if has_states else report.beds
    until = local(forecast.times[-1], forecast.zone)
    span = hours_ahead(len(forecast.times) * forecast.step_hours)
    issued = local(forecast.issued, forecast.zone, with_year=True)
    lead = _expected(report) if has_states else _short(report)
    lead.append(
        Text(f"Issued {issued} (local time, {forecast.zone}) for {span}, until {until}.", "small")
    )
    legend = [
        ("dot", "present when issued"),
        ("line", "median"),
        ("band50", "50 % interval"),
        ("band90", "90 % interval"),
    ]
    if beds:
        legend.append(("staffed", "beds"))
    counted = "capacity is not considered" if has_states else NO_CAPACITY
    fans = Figure(
        panels=tuple(
            Panel(
                svg=to_svg(fan_chart(forecast, place, beds=beds.get(place))),
                alt=_fan_in_words(report, place, beds.get(place)),
                title=_fan_title(report, place, beds.get(place)),
            )
            for place in forecast.places
        ),
        caption=(
            f"Local time of {forecast.zone}; each chart has its own scale, from 0. The pale "
            "band is the 90 % prediction interval."
        ),
        legend=tuple(legend),
    )
    return Page(
        title="Patients by state: forecast" if has_states else "Morning bed report",
        lead=tuple(lead),
        sections=(
            Section("Places and times", _places(report, beds, has_states)),
            Section("Hour by hour" if forecast.step_hours < 24 else "Day by day", (fans,)),
            *(
                (Section("Entries, and how often they came true", _entries(forecast)),)
                if forecast.reliability is not None
                else ()
            ),
        ),
        facts=(
            ("data version", forecast.identity),
            ("issued", f"{issued} ({forecast.zone}); from data to that time"),
            ("what", f"{forecast.what}: {counted}"),
            ("present", f"{number(_now(report, 'all'))} patients, {len(forecast.places)} places"),
            *((("steps", "times are known to the day only"),) * (forecast.step_hours >= 24)),
            *(("assumed", note) for note in forecast.notes),
        ),
        made=made,
        synthetic=synthetic,
    )


def _now(report: BedReport, place: str) -> int | None:
    places = report.forecast.places
    return int(report.forecast.present[places.index(place)]) if place in places else None


def _name(report: BedReport, place: str) -> str:
    return place_name(place, report.forecast.what)


def _short(report: BedReport) -> list[Text]:
    """Say where beds run short, when, and with which chance."""
    forecast = report.forecast
    span = hours_ahead(len(forecast.times) * forecast.step_hours)
    known = [place for place in forecast.places if place in report.beds]
    if not known:
        return [
            Text("No beds are recorded: a shortfall cannot be forecast.", "warning"),
        ]
    texts = [
        Text(
            f"{_name(report, place)} has {_now(report, place)} patients in "
            f"{report.beds[place]} beds now.",
            "warning",
        )
        for place in known
        if (_now(report, place) or 0) > report.beds[place]
    ]
    short = report.short(chance=SHORT)
    if short.height:
        names = [_name(report, place) for place in short["place"]]
        texts.append(Text(f"Beds may run short in {listed(names)}.", "strong"))
        texts.append(
            Text("Probability of more patients than beds, at first and at its highest:", "small")
        )
        texts += [
            Text(_shortage(report, row)) for row in short.head(MOST_SENTENCES).iter_rows(named=True)
        ]
        texts.append(
            Text(
                f"In the other {len(known) - short.height} of {len(known)} places with beds the "
                f"chance stays below 20 % for {span}.",
                "small",
            )
        )
    else:
        chances = {place: forecast.beyond(place, report.beds[place]) for place in known}
        highest = max(known, key=lambda place: float(chances[place].max()))
        at = int(chances[highest].argmax())
        texts.append(
            Text(
                f"Beds run short nowhere: in none of {len(known)} places does the chance of more "
                f"patients than beds reach 20 % within {span}. It is highest in "
                f"{_name(report, highest)}: {chance(float(chances[highest][at]))} "
                f"{local(forecast.times[at], forecast.zone)}."
            )
        )
    return texts


def _shortage(report: BedReport, row: dict[str, Any]) -> str:
    """Say when beds of one place run short: more patients than beds, with which chance."""
    place, zone = row["place"], report.forecast.zone
    now = f"{_name(report, place)}, {_now(report, place)} patients in {report.beds[place]} beds now"
    worst = f"{chance(row['worst'])} {local(row['worst_time'], zone)}"
    if row["time"] == row["worst_time"]:
        return f"{now}: at most {worst}."
    return f"{now}: 20 % from {local(row['time'], zone)} on, at most {worst}."


def _expected(report: BedReport) -> list[Text]:
    """Say how many patients are expected, all first."""
    texts = []
    forecast = report.forecast
    order = sorted(
        forecast.places, key=lambda place: (place != "all", forecast.places.index(place))
    )
    for place in order[: MOST_SENTENCES + 1]:
        rows = report.frame.filter(place=place)
        if not rows.height:
            continue
        last = rows.row(-1, named=True)
        more = float(forecast.beyond(place, last["present"])[_step(report, last)])
        texts.append(
            Text(
                f"{_name(report, place).capitalize()}: {number(last['present'])} patients now, "
                f"{number(last['q50'])} {ahead(last['horizon_hours'])} "
                f"(90 %: {number(last['q05'])} to {number(last['q95'])}); "
                f"the chance of more than now is {chance(more)}."
            )
        )
    return texts


def _step(report: BedReport, row: dict[str, float]) -> int:
    return int(row["horizon_hours"] / report.forecast.step_hours) - 1


def _shade(probability: float) -> int:
    # By the figure that is printed: what reads 20 % is shaded as 20 %.
    return sum(round(probability, 2) >= edge for edge in SHADES)


def _entries(forecast: OccupancyForecast) -> tuple[Table | Text, ...]:
    """How far entries came true, and what is expected of them beside lengths of stay."""
    assert forecast.reliability is not None
    head = (
        Cell("entered", is_text=True),
        Cell("seen"),
        Cell("came true", small="within 24 hours"),
        Cell("judged"),
        Cell("came true"),
        Cell("expected", small="from length of stay alone"),
        Cell("expected", small="with entries"),
    )
    rows = []
    for row in forecast.reliability.iter_rows(named=True):
        share = "–"
        if row["share"] is not None:
            share = f"{part(row['share'])} ({part(row['lower'])}–{part(row['upper'])})"
        both = row["with_entries"]
        rows.append(
            (
                Cell(row["entry"], is_text=True),
                Cell(number(row["seen"])),
                Cell(share),
                Cell(number(row["judged"])),
                Cell(number(row["judged_came_true"])),
                Cell(f"{row['by_lengths_alone']:.1f}"),
                Cell("–" if both is None else f"{both:.1f}", is_strong=True),
            )
        )
    return (
        Table("Patients at this time of each day of the last weeks", head, tuple(rows)),
        Text(
            "Entries count as far as they came true here. “Judged” is the latest third of the "
            "days, with what was learnt before it; a patient seen on several days counts on each.",
            "small",
        ),
    )


def _places(
    report: BedReport, beds: dict[str, int], has_states: bool
) -> tuple[Text | Table | Figure | Details, ...]:
    forecast = report.forecast
    columns = report.frame.select("horizon_hours", "time").unique().sort("horizon_hours")
    head = [Cell("place", is_text=True), *([Cell("beds")] * bool(beds)), Cell("now")]
    head += [
        Cell(ahead(hours), small=local(time, forecast.zone)) for hours, time in columns.iter_rows()
    ]
    rows = [_place_row(report, place, beds) for place in forecast.places]
    caption = "Patients, median (5 %–95 %)"
    if beds:
        caption += (
            "; “short” is the chance of more patients than beds, shaded from 5 %, 20 % and 50 % on"
        )
    unknown = [place for place in forecast.places if place not in beds]
    notes: list[Text] = [
        Text(
            f"{'Capacity is not considered' if has_states else f'These are {NO_CAPACITY}'}. "
            "Intervals are 90 % prediction intervals.",
            "small",
        )
    ]
    if beds and unknown:
        names = listed([_name(report, place) for place in unknown])
        notes.append(Text(f"No beds are recorded of {names}: no chance is given.", "small"))
    if not has_states and len(forecast.places) > 1:
        notes.append(
            Text("Units that hold other units, and the whole hospital, come last.", "small")
        )
    return (Table(caption, tuple(head), tuple(rows)), *notes)


def _place_row(report: BedReport, place: str, beds: dict[str, int]) -> tuple[Cell, ...]:
    present = _now(report, place) or 0
    count = beds.get(place)
    cells = [Cell(_name(report, place), is_text=True)]
    if beds:
        cells.append(Cell("–" if count is None else number(count)))
    over = count is not None and present > count
    cells.append(
        Cell(
            number(present),
            small=f"{present - (count or 0)} over" if over else "",
            shade=3 if over else 0,
            is_strong=over,
        )
    )
    for row in report.frame.filter(place=place).sort("horizon_hours").iter_rows(named=True):
        text = f"{number(row['q50'])} ({number(row['q05'])}–{number(row['q95'])})"
        if count is None or row["beyond"] is None:
            cells.append(Cell(text))
            continue
        shade = _shade(row["beyond"])
        cells.append(
            Cell(text, small=f"short: {chance(row['beyond'])}", shade=shade, is_strong=shade > 1)
        )
    return tuple(cells)


def _fan_title(report: BedReport, place: str, beds: int | None) -> str:
    counted = f"{number(_now(report, place))} now"
    return f"{_name(report, place)}: {counted}{'' if beds is None else f', {beds} beds'}"


def _fan_in_words(report: BedReport, place: str, beds: int | None) -> str:
    rows = report.frame.filter(place=place).sort("horizon_hours")
    expected = "; ".join(
        f"{ahead(row['horizon_hours'])} {row['q50']} ({row['q05']} to {row['q95']})"
        for row in rows.iter_rows(named=True)
    )
    line = "" if beds is None else f", dashed line at {beds} beds"
    return (
        f"Fan chart of patients in {_fan_title(report, place, None)}{line}. Expected: {expected}."
    )
