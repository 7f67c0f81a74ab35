"""``neva import``, ``export``, ``info``, ``check``, ``upgrade``: what is in the store."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Literal, cast

import polars as pl
import typer

from neva.cli.console import AsOf, HospitalPath, Json, now, progress, snapshot_of, table, tell
from neva.errors import ConflictError, NotFoundError, UsageError
from neva.events.hospital import Hospital, create_hospital, open_hospital
from neva.events.schema import REASONS, WARNINGS
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic

__all__ = ["add_to", "settings_of"]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("import")(import_)
    app.command()(export)
    app.command()(info)
    app.command()(check)
    app.command()(upgrade)


def settings_of(pairs: list[str]) -> dict[str, str]:
    """Read NAME=VALUE pairs.

    Raises
    ------
    UsageError
        One is none.
    """
    settings = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            message = f"--set: must be NAME=VALUE; found {pair!r}; write for example case=stay"
            raise UsageError(message)
        settings[name.replace("-", "_")] = value
    return settings


def _hospital(path: Path, zone: str | None) -> tuple[Hospital, bool]:
    """Open the hospital or create it; return whether it was created."""
    if (path / "current").exists():
        hospital = open_hospital(path)
        if zone is not None and zone != hospital.settings.zone:
            message = (
                f"--zone: the hospital has its zone already; found {hospital.settings.zone}; leave "
                "the option out, or give the zone of naive times in the mapping"
            )
            raise ConflictError(message)
        return hospital, False
    if zone is None:
        message = (
            f"{path}: a new hospital needs its time zone; found none; give --zone, "
            "for example --zone Europe/Moscow"
        )
        raise UsageError(message)
    return create_hospital(path, zone=zone, now=now()), True


def import_(
    kind: Annotated[str, typer.Argument(metavar="csv|xes|omop|fhir|meds", help="what it is")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="file or folder")],
    into: Annotated[Path, typer.Option("--into", metavar="HOSPITAL", help="created if absent")],
    mapping: Annotated[
        Path | None, typer.Option(help="what the columns mean: a file, or a ready mapping's name")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="time zone of a new hospital, as in Europe/Moscow")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="replace the earlier batch of a changed file")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="add a changed file as a further extract")
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="a setting of the source"),
    ] = None,
    most_refused: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="share of a table's rows that may be refused (more: nothing imported)",
        ),
    ] = 0.05,
    dates: Annotated[
        str, typer.Option(metavar="real|shifted", help="shifted: moved on purpose, de-identified")
    ] = "",
    as_json: Json = False,
) -> None:
    """Import a file or folder into a hospital; the same one again adds nothing.

    Example: neva import csv sepsis.csv --mapping sepsis --into hospital --zone Europe/Amsterdam
    """
    from neva.intake.importing import import_delivery
    from neva.sources.settings import read_settings

    if replace and extend:
        message = "--replace, --extend: only one of them makes sense; found both; choose one"
        raise UsageError(message)
    if dates not in ("", "real", "shifted"):
        message = f"--dates: must be real or shifted; found {dates!r}; choose one of them"
        raise UsageError(message)
    doors = {door.name: door for door in entry_points(group="neva.sources")}
    if kind not in doors:
        message = f"{kind}: no such source; found {', '.join(sorted(doors))}; choose one of them"
        raise UsageError(message)
    if not source.exists():
        message = f"{source}: no such file or folder; found nothing there; check the path"
        raise NotFoundError(message)
    hospital, made = _hospital(into, zone)
    try:
        open_source = doors[kind].load()
        settings = read_settings(
            open_source, settings_of(setting or []), zone=hospital.settings.zone
        )
        delivery = open_source(source, zone=hospital.settings.zone, mapping=mapping, **settings)
        with progress(f"importing {source.name}") as update:
            summary = import_delivery(
                hospital,
                delivery,
                label=source.resolve().name,
                now=now(),
                on_change="replace" if replace else "extend" if extend else "refuse",
                most_refused=most_refused,
                dates=cast(Literal["real", "shifted"], dates) if dates else None,
                progress=update,
            )
    except BaseException:
        if made:
            shutil.rmtree(into, ignore_errors=True)
        raise

    def text() -> str:
        if summary.already_imported:
            return f"{summary.file}: imported before (batch {summary.batch}); nothing to do"
        lines = [f"{summary.file}: batch {summary.batch}, hospital version {summary.version}", ""]
        lines.append(table(summary.to_frame()))
        for reason, number in sorted(summary.refusals.items()):
            code = reason.rpartition(": ")[2]
            lines.append(f"refused, {number:,} of {reason} ({REASONS.get(code, '')})")
        if summary.refusals:
            lines += ["", "the first refused rows (counted without the header):"]
            refused = hospital.snapshot().quarantine().filter(pl.col("batch") == summary.batch)
            lines.append(table(refused.drop("batch").head(10).collect()))
        for reason, number in summary.warnings.items():
            code = reason.rpartition(": ")[2]
            lines.append(f"taken in doubt, {number:,} of {reason} ({WARNINGS.get(code, '')})")
        if summary.order == "none":
            lines.append(
                "order: the source has none; events of one time are ordered by code and value"
            )
        return "\n".join(lines)

    tell(as_json, summary, text)


def export(
    kind: Annotated[str, typer.Argument(metavar="meds|xes|csv|fhir", help="the format")],
    hospital: HospitalPath,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="must not exist")],
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Export a hospital; ids are pseudonyms.

    Example: neva export meds hospital out
    """
    from neva.exports.fhir import export_fhir
    from neva.exports.meds import export_meds
    from neva.exports.rows import export_csv
    from neva.exports.xes import export_xes

    exports = {"csv": export_csv, "fhir": export_fhir, "meds": export_meds, "xes": export_xes}
    if kind not in exports:
        message = f"{kind}: no such format; found {', '.join(exports)}; choose one of them"
        raise UsageError(message)
    _, snapshot = snapshot_of(hospital, as_of)
    written = exports[kind](snapshot, destination)
    counts = ", ".join(f"{count:,} {name}" for name, count in written.rows.items())
    tell(as_json, written, f"written: {destination} ({counts})")


def info(hospital: HospitalPath, as_of: AsOf = None, as_json: Json = False) -> None:
    """Describe the contents of a hospital.

    Example: neva info hospital
    """
    store, snapshot = snapshot_of(hospital, as_of)
    manifest = store.manifest()
    last = manifest.last
    if snapshot.as_of is not None and last is not None:
        last = min(last, snapshot.as_of)
    counts = {
        "subjects": snapshot.subjects().select(pl.len()).collect().item(),
        "stays": snapshot.stays().select(pl.len()).collect().item(),
        "movements": snapshot.movements().select(pl.len()).collect().item(),
        "units": snapshot.units().select(pl.len()).collect().item(),
        "events": snapshot.events().select(pl.len()).collect().item(),
        "codes": snapshot.codes().select(pl.len()).collect().item(),
        "rows in doubt": snapshot.warnings().select(pl.len()).collect().item(),
        "refused rows": snapshot.quarantine().select(pl.len()).collect().item(),
    }
    named = snapshot.events().select(pl.col("subject_id").n_unique()).collect().item()
    batches = (
        snapshot.batches()
        .select(
            "batch",
            "source",
            "file",
            "imported",
            pl.col("rows_added").alias("added"),
            pl.col("rows_known").alias("known"),
            pl.col("rows_refused").alias("refused"),
            "order",
        )
        .sort("batch")
        .collect()
    )
    synthetic = is_synthetic(snapshot)
    content = {
        "hospital": store.settings.hospital,
        "synthetic": synthetic,
        "zone": store.settings.zone,
        "version": snapshot.version,
        "as_of": snapshot.as_of,
        "first": manifest.first,
        "last": last,
        "rows": counts,
        "subjects_with_events": named,
        "batches": batches,
    }

    def text() -> str:
        lines = [
            (
                f"hospital {store.settings.hospital}, version {snapshot.version}, "
                f"zone {store.settings.zone}"
            ),
            f"from {_time_text(manifest.first)} to {_time_text(last)} UTC",
            *(["synthetic data"] if synthetic else []),
            "",
            *(f"{name:>14} {number:>14,}" for name, number in counts.items()),
            f"{'':>14} {named:>14,} subjects have events",
            "",
            table(batches),
        ]
        return "\n".join(lines)

    tell(as_json, content, text)


def upgrade(hospital: HospitalPath, as_json: Json = False) -> None:
    """Bring a hospital that an earlier Neva wrote to the newest format; make a backup before.

    The first write would do the same. Older versions stay readable; an earlier Neva refuses
    the hospital from then on.

    Example: neva upgrade hospital
    """
    from neva.events.formats import FORMAT
    from neva.events.hospital import open_hospital

    opened = open_hospital(hospital)
    before = opened.upgrade(now=now())
    version = opened.manifest().version
    text = (
        f"format {before} is the newest: nothing to upgrade"
        if before == FORMAT
        else f"format {before} became format {FORMAT}, hospital version {version}"
    )
    tell(as_json, {"before": before, "format": FORMAT, "version": version}, text)


def _time_text(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if value is not None else "–"


def check(
    hospital: HospitalPath,
    thresholds: Annotated[
        Path | None, typer.Option(help="a YAML file with your own thresholds")
    ] = None,
    units: Annotated[
        bool,
        typer.Option(
            "--units",
            help="instead: unrecognised spellings of units of measurement, and what they may "
            "mean, judging by the values",
        ),
    ] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Check the quality of the data: conformance, completeness, plausibility.

    Example: neva check hospital
    """
    from neva.events.checks import check_hospital, read_thresholds

    _, snapshot = snapshot_of(hospital, as_of)
    if units:
        _units(snapshot, as_json=as_json)
        return
    result = check_hospital(snapshot).judged(read_thresholds(thresholds))
    tell(as_json, result, result.to_text)


def _units(snapshot: Snapshot, *, as_json: bool) -> None:
    """Print what spellings of units may mean."""
    from neva.events.own_units import OWN_UNITS
    from neva.events.unit_proposals import propose_units

    found = propose_units(snapshot)
    proposed = found.filter(pl.col("proposed").is_not_null()).unique(
        "written", keep="first", maintain_order=True
    )
    lines = [
        f"{json.dumps(written, ensure_ascii=False)}: {json.dumps(unit)}"
        for written, unit in proposed.select("written", "proposed").iter_rows()
    ]

    def text() -> str:
        if found.is_empty():
            return "every unit of measurement was recognised"
        report_lines = [table(found, rows=200), ""]
        if lines:
            head = (
                "Proposals from the size of the values, for a person to judge; lines for "
                f"{OWN_UNITS} in the folder of the hospital (import the file again with --replace "
                "afterwards):"
            )
            report_lines += [head, *lines]
        else:
            report_lines.append(
                f"Nothing can be proposed; say what they mean in {OWN_UNITS} in the folder of the "
                "hospital"
            )
        return "\n".join(report_lines)

    content = {"data": snapshot.identity, "units": found, "file": OWN_UNITS, "lines": lines}
    tell(as_json, content, text)
