"""Results of measures as FHIR R4 MeasureReport resources, in and out.

Three types: a summary has counts and no patient, and small counts are
withheld; a subject list and individual reports name patients by pseudonym and
are for inside the hospital.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from neva.errors import UsageError
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.exports.rows import Exported, replacing
from neva.quality.fhir.measure import measure_to_fhir
from neva.quality.fhir.patients import individual_reports, subject_list_report
from neva.quality.fhir.report_parts import Kind, Period
from neva.quality.fhir.reported import ReportedMeasure, report_from_fhir
from neva.quality.fhir.summary import BELOW, summary_report
from neva.quality.fhir.words import BASE_URL, Resource
from neva.quality.measuring import MeasureRun

__all__ = [
    "ReportedMeasure",
    "individual_reports",
    "report_from_fhir",
    "subject_list_report",
    "summary_report",
    "write_reports",
]


def write_reports(
    run: MeasureRun,
    snapshot: Snapshot,
    folder: Path | str,
    *,
    kinds: Sequence[Kind] = ("summary",),
    measures: Sequence[str] | None = None,
    period: Period | None = None,
    below: int = BELOW,
    base_url: str = BASE_URL,
    made: datetime | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write reports, and the measures that they name, as files of NDJSON.

    Parameters
    ----------
    run : MeasureRun
    snapshot : Snapshot
        The one that the run was made from.
    folder : path
        To be made; all of it is written or nothing.
    kinds : sequence of {"summary", "subject-list", "individual"}
        Only a summary is for outside the hospital: the others name patients.
    measures : sequence of str, optional
        Ids; all of the run by default.
    period
        For summaries and subject lists; individual reports are on all cases.
    below, base_url, made
        As for :func:`summary_report`.
    overwrite : bool
        Replace a folder of that name.

    Returns
    -------
    Exported
        ``Measure.ndjson`` and, for each kind, ``MeasureReport-<kind>.ndjson``.

    Raises
    ------
    UsageError
        There is no such kind or measure.
    neva.errors.ConflictError, neva.errors.NotFoundError
        The folder exists, or its parent does not.
    """
    for kind in kinds:
        if kind not in ("summary", "subject-list", "individual"):
            message = (
                f"kinds: no such report; found {kind!r}; take of summary, subject-list, individual"
            )
            raise UsageError(message)
    chosen = [run.measure(name) for name in measures] if measures else list(run.measures)
    synthetic = is_synthetic(snapshot)
    rows: dict[str, int] = {}

    def of(kind: Kind, name: str) -> list[Resource]:
        words: dict[str, Any] = {"base_url": base_url, "made": made}
        if kind == "individual":
            return individual_reports(snapshot, run, name, **words)
        words |= {"synthetic": synthetic, "period": period}
        if kind == "summary":
            return [summary_report(run, name, below=below, **words)]
        return [subject_list_report(run, name, **words)]

    with replacing(folder, overwrite=overwrite, folder=True) as partial:
        rows["Measure"] = _write(
            partial / "Measure.ndjson",
            (measure_to_fhir(one, base_url=base_url) for one in chosen),
        )
        for kind in dict.fromkeys(kinds):
            rows[f"MeasureReport-{kind}"] = _write(
                partial / f"MeasureReport-{kind}.ndjson",
                (report for one in chosen for report in of(kind, one.id)),
            )
    return Exported(Path(folder), "fhir", rows)


def _write(path: Path, resources: Iterator[Resource]) -> int:
    written = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for resource in resources:
            json.dump(resource, file, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            file.write("\n")
            written += 1
    return written
