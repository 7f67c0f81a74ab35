"""Data quality: measured once, judged by thresholds that can be changed.

Checks follow the three kinds of Kahn et al. (2016): conformance (is it in the
agreed form), completeness (is it there), plausibility (can it be believed),
after the check types of OHDSI's DataQualityDashboard (Blacketer et al. 2021)
where they apply to our tables. A check counts failing rows among the rows it
looks at; a threshold says which share is tolerable.

References
----------
Kahn MG et al. (2016), eGEMs 4(1):1244, doi:10.13063/2327-9214.1244.
Blacketer C et al. (2021), JAMIA 28(10):2251-2257, doi:10.1093/jamia/ocab132.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from neva.errors import BadInputError, NotFoundError
from neva.events import check_catalogue
from neva.events.check_catalogue import CATALOGUE, Check
from neva.events.snapshot import Snapshot
from neva.files.whole import write_whole

__all__ = ["Checked", "Measured", "check_hospital", "read_thresholds"]

_COLUMNS = {
    "check": pl.String,
    "category": pl.String,
    "description": pl.String,
    "numerator": pl.Int64,
    "denominator": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What the checks counted, before any judgement.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a check: ``check`` (its id), ``category``, ``description``,
        ``numerator`` (failing rows), ``denominator`` (rows looked at; 0 where
        there is nothing to check).
    identity : str
        The view of the data.
    """

    frame: pl.DataFrame
    identity: str

    def to_frame(self) -> pl.DataFrame:
        """Return the counts."""
        return self.frame

    def judged(self, thresholds: Mapping[str, float]) -> Checked:
        """Judge by thresholds: the largest share of failing rows that is tolerable.

        Parameters
        ----------
        thresholds : mapping of str to float
            For each check its threshold, 0-1. A check without one is only
            reported.
        """
        limits = pl.DataFrame(
            {"check": list(thresholds), "threshold": list(thresholds.values())},
            schema={"check": pl.String, "threshold": pl.Float64},
        )
        verdict = (
            pl.when(pl.col("denominator") == 0)
            .then(pl.lit("not applicable"))
            .when(pl.col("threshold").is_null())
            .then(pl.lit("reported"))
            .when(pl.col("share") <= pl.col("threshold"))
            .then(pl.lit("within"))
            .otherwise(pl.lit("outside"))
        )
        frame = (
            self.frame.with_columns(
                share=pl.when(pl.col("denominator") > 0).then(
                    pl.col("numerator") / pl.col("denominator")
                )
            )
            .join(limits, on="check", how="left", maintain_order="left")
            .with_columns(verdict=verdict)
        )
        return Checked(frame=frame, identity=self.identity)


@dataclass(frozen=True, slots=True)
class Checked:
    """Checks with their verdicts.

    Attributes
    ----------
    frame : polars.DataFrame
        As in :class:`Measured`, with ``share`` (0-1, missing where nothing was
        looked at), ``threshold`` and ``verdict`` (``within``, ``outside``,
        ``reported`` where there is no threshold, ``not applicable`` where there
        is nothing to check).
    identity : str
        The view of the data.
    """

    frame: pl.DataFrame
    identity: str

    def to_frame(self) -> pl.DataFrame:
        """Return the table."""
        return self.frame

    def summary(self) -> list[dict[str, Any]]:
        """Count verdicts by kind: ``category``, ``passed``, ``failed``, ``not_applicable``."""
        rows = []
        for category in ("conformance", "completeness", "plausibility"):
            verdicts = self.frame.filter(pl.col("category") == category)["verdict"].to_list()
            rows.append(
                {
                    "category": category,
                    "passed": verdicts.count("within"),
                    "failed": verdicts.count("outside"),
                    "not_applicable": verdicts.count("not applicable"),
                }
            )
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """Return the judged checks as texts, those outside first; for pages."""
        order = {"outside": 0, "within": 1, "reported": 2, "not applicable": 3}
        css = {"outside": "fail", "within": "pass", "reported": "na", "not applicable": "na"}
        ranked = sorted(self.frame.iter_rows(named=True), key=lambda row: order[row["verdict"]])
        return [
            {
                **row,
                "css": css[row["verdict"]],
                "numerator": f"{row['numerator']:,}",
                "denominator": f"{row['denominator']:,}",
                "share": "–" if row["share"] is None else _percent(row["share"]),
                "threshold": "–" if row["threshold"] is None else _percent(row["threshold"]),
            }
            for row in ranked
            if row["verdict"] != "not applicable"
        ]

    def to_text(self) -> str:
        """Return the judged checks as plain text."""
        lines = [f"data {self.identity}", ""]
        for row in self.rows():
            sign = {"within": "ok  ", "outside": "FAIL"}.get(row["verdict"], "    ")
            lines.append(
                f"{sign} {row['share']:>8} of {row['denominator']:>12}  (tolerated "
                f"{row['threshold']:>7})  {row['description']}  [{row['check']}]"
            )
        absent = self.frame.filter(pl.col("verdict") == "not applicable").height
        lines += ["", f"{absent} checks have nothing to check here."]
        return "\n".join(lines)


def _percent(share: float) -> str:
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    return "<0.01 %" if share > 0 and text == "0" else f"{text} %"


def check_hospital(snapshot: Snapshot) -> Measured:
    """Run every check once; kept on disk for this view of the data.

    Judging again with other thresholds does not run them again.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital as known at a time.
    """
    # A check that was changed is another check.
    described = repr(
        [(check.id, check.category, check.description) for check in CATALOGUE]
    ).encode()
    catalogue = hashlib.sha256(described + Path(check_catalogue.__file__).read_bytes()).hexdigest()[
        :8
    ]
    key = hashlib.sha256(f"{snapshot.identity}/{catalogue}".encode()).hexdigest()[:24]
    kept = snapshot.cache / "checks" / f"{key}.json"
    try:
        frame = pl.DataFrame(json.loads(kept.read_text()), schema=_COLUMNS)
        return Measured(frame=frame, identity=snapshot.identity)
    except (OSError, ValueError):
        pass  # not measured yet, or cut off: measure
    rows = []
    for check in CATALOGUE:
        numerator, denominator = _counted(check, snapshot)
        rows.append(
            {
                "check": check.id,
                "category": check.category,
                "description": check.description,
                "numerator": numerator,
                "denominator": denominator,
            }
        )
    write_whole(kept, json.dumps(rows))
    return Measured(frame=pl.DataFrame(rows, schema=_COLUMNS), identity=snapshot.identity)


def _counted(check: Check, snapshot: Snapshot) -> tuple[int, int]:
    frame = check.rows(snapshot)
    row = frame.select(
        pl.col("fails").fill_null(value=False).sum().cast(pl.Int64), pl.len().cast(pl.Int64)
    ).collect(engine="streaming")
    numerator, denominator = row.row(0)
    return int(numerator or 0), int(denominator)


def read_thresholds(path: Path | None = None) -> dict[str, float]:
    """Read thresholds: the shipped ones, overridden by a file of one's own.

    Parameters
    ----------
    path : Path, optional
        YAML: ``check-id: share`` (0-1), or ``check-id: null`` to only report.

    Raises
    ------
    NotFoundError
        There is no such file.
    BadInputError
        It names a check that does not exist, or something that is no share.
    """
    shipped = resources.files("neva.events").joinpath("thresholds.yaml").read_text()
    thresholds: dict[str, Any] = yaml.safe_load(shipped)
    if path is not None:
        try:
            own = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            message = f"{path}: no such file; found nothing there; check the path"
            raise NotFoundError(message) from None
        except (yaml.YAMLError, UnicodeDecodeError):
            message = f"{path}: not YAML; found something else; write lines of 'check: 0.05'"
            raise BadInputError(message) from None
        if not isinstance(own, dict):
            message = f"{path}: no thresholds; found no table; write lines of 'check: 0.05'"
            raise BadInputError(message)
        known = {check.id for check in CATALOGUE}
        for name, value in own.items():
            if name not in known:
                message = (
                    f"{path}: no such check; found {name!r}; 'neva check' lists the names in "
                    "brackets"
                )
                raise BadInputError(message)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 <= value <= 1):
                message = (
                    f"{path}: {name}: not a share; found {value!r}; write a number from 0 to 1"
                )
                raise BadInputError(message)
        thresholds.update(own)
    return {name: float(value) for name, value in thresholds.items() if value is not None}
