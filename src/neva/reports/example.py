"""The embedded examples: real COVID-19 in-patients, and synthetic ones with wards and drugs."""

from __future__ import annotations

from datetime import datetime
from importlib import resources
from pathlib import Path

from neva.census import units_above
from neva.decisions.replay import replay
from neva.decisions.replay_figures import Figures, figures, overlap, sweep
from neva.definitions.programme import load_programme
from neva.definitions.record import record_definitions
from neva.events.hospital import create_hospital, open_hospital
from neva.flow import BedReport, bed_report, beds_at, forecast_hospital
from neva.intake.importing import ImportSummary, import_delivery
from neva.pathways import Activity, ActivityFile
from neva.quality.measuring import run_measures
from neva.reports.pages.flow import forecast_page
from neva.reports.pages.replay import replay_page
from neva.reports.report import Report, make_report
from neva.sources.csv.source import open_csv
from neva.synthesis import Plan, synthesise

__all__ = [
    "example_activities",
    "run_bed_report",
    "run_example",
    "run_replay_example",
    "run_synthetic_example",
]

TITLE = "COVID-19 in-patients, Israel, spring 2020"
NOTE = (
    "Real patients: 2,675 COVID-19 in-patients of all Israeli hospitals, 6 March to 5 May 2020 "
    "(Roimi et al., JAMIA 2021; 28(6):1188; data from the PyPI package pymsm, MIT licence). A "
    "national cohort by severity: counts are patients, not beds, and there are no units. Dates are "
    "known to the day."
)


def example_activities() -> ActivityFile:
    """Return the four states; a case is a patient's whole timeline, returns included."""
    states = ("moderate", "severe", "discharged", "died")
    return ActivityFile(
        name="COVID-19 states",
        case="subject",
        activities=tuple(
            Activity(name=state, codes=(f"COVID-STATE//{state}",)) for state in states
        ),
    )


def run_example(folder: Path, *, now: datetime) -> tuple[Report, ImportSummary, Path]:
    """Import the cohort into ``folder/hospital`` (once) and write ``folder/report.html``.

    Parameters
    ----------
    folder : Path
        Made if absent; a second run adds nothing twice.
    now : datetime
        Aware.
    """
    path = folder / "hospital"
    folder.mkdir(parents=True, exist_ok=True)
    if (path / "current").exists():
        hospital = open_hospital(path)
    else:
        hospital = create_hospital(path, zone="Asia/Jerusalem", now=now)
    data = Path(str(resources.files("neva.sources"))) / "data" / "israel-covid"
    cohort = data / "covid_hosp_data.csv"
    delivery = open_csv(cohort, zone=hospital.settings.zone, mapping=Path("israel-covid"))
    summary = import_delivery(hospital, delivery, label=cohort.name, now=now)
    report = make_report(
        hospital.snapshot(),
        made=now,
        title=TITLE,
        activities=example_activities(),
        by="state",
        states=("COVID-STATE//moderate", "COVID-STATE//severe"),
        notes=(NOTE,),
    )
    written = folder / "report.html"
    report.write(written)
    return report, summary, written


def run_bed_report(folder: Path, *, now: datetime) -> tuple[BedReport, Path]:
    """Write the morning bed report of the synthetic hospital.

    Parameters
    ----------
    folder : Path
        The hospital is ``folder/synthetic``; the page ``folder/morning.html``.
    now : datetime
        Aware.
    """
    hospital = open_hospital(folder / "synthetic")
    snapshot = hospital.snapshot()
    forecast = forecast_hospital(hospital, look_back=3)
    report = bed_report(forecast, beds_at(snapshot, forecast.issued), above=units_above(snapshot))
    written = folder / "morning.html"
    forecast_page(report, made=now, synthetic=True).write(written)
    return report, written


def run_replay_example(folder: Path, *, now: datetime) -> tuple[Figures, Path]:
    """Replay the rules over the synthetic patients.

    Parameters
    ----------
    folder : Path
        The hospital is ``folder/synthetic``; the page ``folder/replay.html``.
    now : datetime
        Aware.
    """
    snapshot = open_hospital(folder / "synthetic").snapshot()
    programmes = [load_programme(name) for name in ("acute-care", "covid19", "sepsis")]
    rules = [one for each in programmes for one in each.rules]
    made = replay(snapshot, rules)
    found = figures(made)
    written = folder / "replay.html"
    replay_page(made, found, overlap(made), {rules[0].id: sweep(made, rules[0])}, made=now).write(
        written
    )
    return found, written


SYNTHETIC_TITLE = "A synthetic hospital: treatment quality in COVID-19"
SYNTHETIC_NOTE = (
    "Synthetic data: every patient here is invented, and no figure says anything about a real "
    "hospital. It shows what the cohort of real patients lacks: wards, drugs, tests, deadlines."
)


def run_synthetic_example(folder: Path, *, now: datetime) -> tuple[Report, Path]:
    """Make a synthetic hospital and write ``folder/synthetic.html``.

    Parameters
    ----------
    folder : Path
        The hospital goes to ``folder/synthetic``; a second run adds nothing.
    now : datetime
        Aware.
    """
    path = folder / "synthetic"
    plan = Plan(stays=1000, seed=1, zone="Europe/Moscow", operations=True)
    if (path / "current").exists():
        hospital = open_hospital(path)
    else:
        hospital = create_hospital(path, zone=plan.zone, now=now)
    synthesise(hospital, plan, now=now)
    snapshot = hospital.snapshot()
    run = run_measures(snapshot, load_programme("covid19"))
    record_definitions(hospital, run.measures, now=now)
    report = make_report(
        snapshot,
        made=now,
        title=SYNTHETIC_TITLE,
        by="unit",
        notes=(SYNTHETIC_NOTE,),
        quality=(run,),
    )
    written = folder / "synthetic.html"
    report.write(written)
    return report, written
