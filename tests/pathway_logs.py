"""The shared event logs as activity logs, read without the import."""

import gzip
import xml.etree.ElementTree as ET
from datetime import date, datetime, timedelta

import polars as pl

from neva.pathways import ActivityLog, log_from_frame
from tests.shared_data import shared


def from_csv(
    path, *, case, activity, time, form, separator=",", encoding="utf8", zone="UTC", order="file"
) -> ActivityLog:
    """`order`: ties in file order; ``name``: by activity; ``file only``: no times at all."""
    frame = pl.read_csv(
        path,
        separator=separator,
        infer_schema=False,
        encoding=encoding,
    )
    moment = pl.col(time).str.to_datetime(form, time_unit="us")
    if not form.endswith("%z"):
        moment = moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    rows = frame.filter(pl.col(case).is_not_null()).select(
        case=case, activity=activity, time=moment, sequence=pl.int_range(pl.len())
    )
    drop = {"file": [], "name": ["sequence"], "file only": ["time"]}[order]
    return log_from_frame(rows.drop(drop))


def sepsis() -> ActivityLog:
    return from_csv(
        shared("data", "sepsis-eventlog", "sepsis.csv"),
        case="Case ID",
        activity="Activity",
        time="Complete Timestamp",
        form="%Y/%m/%d %H:%M:%S%.3f",
        separator=";",
    )


def monitoring(order="file") -> ActivityLog:
    return from_csv(
        shared("data", "almazov-workflows", "remote_monitoring.csv"),
        case="case_id",
        activity="task",
        time="timestamp",
        form="%Y-%m-%d %H:%M:%S",
        encoding="windows-1251",
        order=order,
    )


def nurses() -> ActivityLog:
    return from_csv(
        shared("data", "almazov-workflows", "nurse_workflow.csv"),
        case="shift",
        activity="activity",
        time="date_time",
        form="%Y-%m-%d %H:%M:%S",
        encoding="windows-1251",
    )


def billing(order="file") -> ActivityLog:
    return from_csv(
        shared("data", "hospital-billing-eventlog", "hospital_billing.csv.gz"),
        case="case_id",
        activity="activity",
        time="timestamp",
        form="%Y-%m-%d %H:%M:%S",
        order=order,
    )


def receipt() -> ActivityLog:
    path = shared("data", "xes-logs", "receipt.csv.gz")
    frame = pl.read_csv(path, infer_schema=False)
    return log_from_frame(
        frame.select(
            case="case:concept:name",
            activity="concept:name",
            time=pl.col("time:timestamp").str.to_datetime(
                "%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", time_zone="UTC"
            ),
            sequence=pl.int_range(pl.len()),
        )
    )


def running_example() -> ActivityLog:
    path = shared("data", "xes-logs", "running-example.csv")
    frame = pl.read_csv(path, infer_schema=False)
    return log_from_frame(
        frame.select(
            case="case:concept:name",
            activity="concept:name",
            time=pl.col("time:timestamp").str.to_datetime(
                "%Y-%m-%d %H:%M:%S%#z", time_unit="us", time_zone="UTC"
            ),
            sequence=pl.int_range(pl.len()),
        )
    )


def from_xes(name: str) -> ActivityLog:
    """Case, activity and order only; times are read where they are ISO."""
    path = shared("data", "xes-logs", name)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        root = ET.parse(file).getroot()
    rows = []
    for number, trace in enumerate(root.findall(".//{*}trace")):
        for event in trace.findall("{*}event"):
            values = {item.get("key"): item.get("value") for item in event}
            time = values.get("time:timestamp")
            rows.append((number, values["concept:name"], time and datetime.fromisoformat(time)))
    case, activity, time = zip(*rows, strict=True)
    return log_from_frame(
        pl.DataFrame(
            {
                "case": case,
                "activity": activity,
                "time": pl.Series(time, dtype=pl.Datetime("us", "UTC")),
                "sequence": range(len(rows)),
            }
        )
    )


_STATES = {23: "moderate", 4: "severe", 16: "discharged", 5: "died"}


def covid() -> ActivityLog:
    """The four states of the Israeli cohort; a day in a state is a calendar day."""
    frame = pl.read_csv(
        shared("data", "israel-covid-multistate", "covid_hosp_data.csv"), infer_schema=False
    )
    rows = []
    for record in frame.to_dicts():
        day = datetime.combine(date.fromisoformat(record["first_date"]), datetime.min.time())
        for number in range(11):
            state = _STATES.get(int(float(record[f"new_type{number}"] or 0)))
            if number:
                day += timedelta(days=max(float(record[f"new_time{number}"] or 0), 0))
            if state:
                rows.append((record["id"], state, day, number))
    case, activity, time, sequence = zip(*rows, strict=True)
    return log_from_frame(
        pl.DataFrame({"case": case, "activity": activity, "time": time, "sequence": sequence})
    )
