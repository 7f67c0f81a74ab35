"""Results of background tasks: files found by the question that they answer."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from neva.census.basis import FLOW, basis_of
from neva.events.hospital import Hospital
from neva.files.whole import write_whole
from neva.state import State, job_key
from neva.state.jobs import Job
from neva.state.settings import WebSettings

__all__ = ["Result", "Results", "results_folder"]

#: So many results of a kind are kept.
_KEPT: Final = 40
#: Kinds that rest on where patients were and on entries, as known at a time: a
#: result that was recorded since changes none of them.
_OF_FLOW: Final = ("forecast", "evaluation")
#: Names what results look like: it changes with the code that makes them.
_FORMAT: Final = hashlib.sha256(
    b"".join(one.read_bytes() for one in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()[:16]


def results_folder(hospital: Path) -> Path:
    """Return the folder of results: ``results`` in the hospital, or NEVA_RESULTS."""
    place = os.environ.get("NEVA_RESULTS", "").strip()
    return Path(place) if place else hospital / "results"


@dataclass(frozen=True)
class Result:
    """What a job left.

    Attributes
    ----------
    id, kind : str
    parameters : dict
    version : str
        Of the data that it was made from.
    made : datetime
        Aware.
    content : dict
    """

    id: str
    kind: str
    parameters: dict[str, Any]
    version: str
    made: datetime
    content: dict[str, Any]
    folder: Path

    def attachment(self, name: str) -> Path:
        """Return the path of a file that the job left beside."""
        return self.folder / f"{self.id}.{name}"

    def cases(self) -> pl.DataFrame:
        """Return the table that the job left beside."""
        return pl.read_parquet(self.attachment("cases.parquet"))


class Results:
    """Results of one hospital, found again by what was asked.

    Parameters
    ----------
    settings : WebSettings
    state : State
    hospital : Hospital
    """

    def __init__(self, settings: WebSettings, state: State, hospital: Hospital) -> None:
        self._settings, self._state, self._hospital = settings, state, hospital
        self.folder = results_folder(settings.hospital)
        self._read: dict[str, Result] = {}
        self._flows: dict[tuple[int, str], str] = {}
        self._lock, self._naming = threading.Lock(), threading.Lock()

    def version(self) -> str:
        """Name the data as they are."""
        return f"{self._hospital.settings.hospital}@{self._hospital.manifest().version}"

    def _data(self, kind: str, parameters: Mapping[str, Any]) -> str:
        """Name the data that a result rests on."""
        manifest = self._hospital.manifest()
        at = parameters.get("at") if kind in _OF_FLOW else None
        if at is not None:
            basis = self._basis_of_flow(manifest.version, str(at))
            if basis:
                return basis
        # Which definitions made a figure is recorded in a table of its own: that
        # one was written changes no other figure.
        data = {name: one for name, one in manifest.tables.items() if name != "definitions"}
        return job_key("data", data, self._hospital.settings.hospital)

    def _basis_of_flow(self, version: int, at: str) -> str:
        """Name what is known of the flow at a time; empty where patients' units are not recorded.

        Their states are the places then, and any event may be a state.
        """
        with self._naming:  # many look at a new version at once: it is named once
            if (known := self._flows.get((version, at))) is not None:
                return known
            snapshot = self._hospital.snapshot(as_of=datetime.fromisoformat(at))
            basis = basis_of(snapshot, FLOW)
            has_units = basis in self._flows.values()
            if not has_units:
                placed = snapshot.movements().filter(pl.col("unit").is_not_null()).head(1)
                has_units = placed.collect().height > 0
            while len(self._flows) >= _KEPT:
                self._flows.pop(next(iter(self._flows)))
            self._flows[version, at] = basis if has_units else ""
            return self._flows[version, at]

    def key(self, kind: str, parameters: Mapping[str, Any]) -> str:
        """Name a result of the data that it rests on, and of the rules as they are."""
        more = self._data(kind, parameters)
        if kind == "work-list":
            more += job_key(
                "rules", {one.rule: [one.state, one.hash] for one in self._state.rules.all()}
            )
        return job_key(kind, parameters, more + _FORMAT)

    def _load(self, id_: str) -> Result | None:
        with self._lock:
            if id_ in self._read:
                return self._read[id_]
        path = self.folder / f"{id_}.json"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if held.get("format") != _FORMAT:
            return None  # written by another version of Neva
        found = Result(
            id_, held["kind"], held["parameters"], held["version"],
            datetime.fromisoformat(held["made"]), held["content"], self.folder,
        )  # fmt: skip
        with self._lock:
            while len(self._read) >= _KEPT:
                self._read.pop(next(iter(self._read)))
            self._read[id_] = found
        return found

    def find(self, kind: str, parameters: Mapping[str, Any]) -> Result | None:
        """Return the result for exactly this and the data as they are, or None."""
        return self._load(self.key(kind, parameters))

    def latest(self, kind: str, parameters: Mapping[str, Any]) -> Result | None:
        """Return the newest result of a kind whose parameters but the time are these."""
        wanted = _without_time(parameters)
        pointer = self.folder / f"latest-{job_key(kind, wanted)}"
        try:
            return self._load(pointer.read_text(encoding="utf-8").strip())
        except OSError:
            return None

    def contents(self, kind: str) -> list[dict[str, Any]]:
        """Return what the kept results of a kind hold, the newest first."""
        found = []
        for path in sorted(self.folder.glob("*.json"), key=lambda one: one.name):
            held = self._load(path.stem)
            if held is not None and held.kind == kind:
                found.append(held)
        return [one.content for one in sorted(found, key=lambda one: one.made, reverse=True)]

    def has_of(self, job: Job) -> bool:
        """Say whether a job has already left its result, whole."""
        found = self._load(job.key)
        return found is not None and found.made >= job.at

    def drop(self, id_: str) -> None:
        """Drop a result: its files are gone, or a newer one is there."""
        with self._lock:
            self._read.pop(id_, None)
        (self.folder / f"{id_}.json").unlink(missing_ok=True)

    def last_kept(self, kind: str) -> str:
        """Name the newest result of a kind that is asked for by its time only; else empty."""
        try:
            return (self.folder / f"latest-{job_key(kind, {})}").read_text(encoding="utf-8")
        except OSError:
            return ""

    def want(self, kind: str, parameters: Mapping[str, Any], *, actor: str) -> Job:
        """Queue the job of a result, once."""
        return self._state.jobs.add(
            kind,
            parameters,
            key=self.key(kind, parameters),
            actor=actor,
            at=self._settings.now(),
        )

    def running(self, kind: str, parameters: Mapping[str, Any]) -> str | None:
        """Return the id of the job under way for this, or None."""
        job = self._state.jobs.last(self.key(kind, parameters))
        return job.id if job is not None and job.is_under_way else None

    def failed(self, kind: str, parameters: Mapping[str, Any]) -> Job | None:
        """Return the last job for this if it failed or was cancelled."""
        job = self._state.jobs.last(self.key(kind, parameters))
        return job if job is not None and job.state in ("failed", "cancelled") else None

    def keep(self, id_: str, kind: str, parameters: Mapping[str, Any], version: str,
             content: Mapping[str, Any], made: datetime) -> None:  # fmt: skip
        """Write a result, whole or not at all, and drop the oldest of its kind."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        held = {
            "format": _FORMAT,
            "kind": kind,
            "parameters": dict(parameters),
            "version": version,
            "made": made.isoformat(),
            "content": content,
        }
        text = json.dumps(held, ensure_ascii=False, default=_json_value)
        write_whole(self.folder / f"{id_}.json", text, private=True)
        write_whole(
            self.folder / f"latest-{job_key(kind, _without_time(parameters))}", id_, private=True
        )
        self._prune()

    def _prune(self) -> None:
        named = sorted(
            self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        for path in named[_KEPT * 4 :]:
            for one in self.folder.glob(path.name.removesuffix(".json") + ".*"):
                one.unlink(missing_ok=True)


def _without_time(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in parameters.items() if name not in ("at", "after")}


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
