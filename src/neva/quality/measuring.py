"""Running the measures of a programme: one row for each case and measure.

All measures of a run share one plan, so that what two of them need is
calculated once. What comes out are cases; figures are made of them
(:mod:`neva.quality.figures`), and every figure leads back to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Final

import polars as pl

from neva.definitions import model as m
from neva.definitions.binding import Binding, bind
from neva.definitions.documents import Measure, content_hash
from neva.definitions.points import EachStay, EachSubject
from neva.definitions.programme import Programme
from neva.definitions.relational.warehouse import Warehouse
from neva.definitions.run import Engine, answer, points_of
from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = ["CASES", "MeasureRun", "Sources", "outputs_of", "run_measures"]

#: Columns of the cases, and their types.
CASES: Final[dict[str, Any]] = {
    "measure": pl.String,
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "status": pl.String,
    "placed": TIME,
    "due": TIME,
    "value": pl.Float64,
    "per": pl.Float64,
    "treated": pl.Boolean,
    "interval": pl.Float64,
    "unit": pl.String,
    "excluded_by": pl.List(pl.String),
    "components_met": pl.List(pl.String),
    "strata": pl.List(pl.Struct({"name": pl.String, "value": pl.String})),
}


@dataclass(frozen=True)
class Sources:
    """What the figures rest on.

    Attributes
    ----------
    rows : int
        Events with the codes that the measure reads (all revisions left
        out that were withdrawn).
    assumed : float or None
        Share of them whose time of recording is assumed.
    dates_only : float or None
        Share of them that carry a date without a time of day: measures in
        hours cannot be trusted on them.
    """

    rows: int
    assumed: float | None
    dates_only: float | None


@dataclass(frozen=True)
class MeasureRun:
    """The measures of one programme on one hospital version.

    Attributes
    ----------
    programme : str
        Name and version.
    settings : mapping
        What was chosen in the programme.
    measures : tuple of Measure
        In the order of the programme.
    cases : polars.DataFrame
        One row for each case in the population of a measure, or possibly in
        it; columns of ``CASES``. Cases outside are counted only.
    outside : dict of str to int
        Cases outside of each measure's population.
    errors : polars.DataFrame
        ``subject_id``, ``stay_id``, ``reason``: patients whose record
        contradicts itself, in no measure.
    hashes : dict of str to str
        SHA-256 of each measure's content.
    sources : dict of str to Sources
        What each measure rests on.
    now : datetime
        When the measures are evaluated: the data cut.
    identity : str
        Hospital, version and view.
    zone : str
        The hospital's time zone.
    refused : int
        Rows in quarantine.
    engine : str
        Which engine answered.
    points : dict of str to polars.DataFrame
        The points by unit of counting (stay, subject).
    """

    programme: str
    settings: Mapping[str, Any]
    measures: tuple[Measure, ...]
    cases: pl.DataFrame
    outside: dict[str, int]
    errors: pl.DataFrame
    hashes: dict[str, str]
    sources: dict[str, Sources]
    now: datetime
    identity: str
    zone: str
    refused: int
    engine: str
    points: dict[str, pl.DataFrame] = field(repr=False)

    def measure(self, name: str) -> Measure:
        """Return a measure by id, or by what follows the programme's name.

        Raises
        ------
        UsageError
            The run has none of this name.
        """
        for one in self.measures:
            if name in (one.id, one.id.partition(".")[2]):
                return one
        message = (
            f"measure: not in this run; found {name!r}; "
            f"it has {', '.join(one.id for one in self.measures)}"
        )
        raise UsageError(message)

    def of(self, measure: str) -> pl.DataFrame:
        """Return the cases of one measure."""
        return self.cases.filter(pl.col("measure") == self.measure(measure).id)

    def between(self, first: date | None, until: date | None) -> MeasureRun:
        """Return the run with the cases of some days only.

        Parameters
        ----------
        first, until : date, optional
            Days of the hospital's calendar, ``[first, until)``: by each case's
            ``placed`` time. A case without one is in no period, and left out.

        Returns
        -------
        MeasureRun
            Without ``outside``: who is in no population has no time.

        Raises
        ------
        UsageError
            `until` does not come after `first`.
        """
        if first is not None and until is not None and first >= until:
            message = (
                f"period: it is empty; found [{first}, {until}); the end is the first day that "
                "is no longer counted"
            )
            raise UsageError(message)
        placed = pl.col("placed")
        kept = placed.is_not_null()
        if first is not None:
            kept &= placed >= first_moment(first, self.zone)
        if until is not None:
            kept &= placed < first_moment(until, self.zone)
        return replace(self, cases=self.cases.filter(kept), outside={})

    def pending(self) -> pl.DataFrame:
        """Cases in progress: those whose clock still runs, the nearest deadline first.

        Returns
        -------
        polars.DataFrame
            ``measure``, ``subject_id``, ``stay_id``, ``unit``, ``due`` (UTC;
            missing: no deadline yet), ``placed``.
        """
        return (
            self.cases.filter(pl.col("status") == "pending")
            .select("measure", "subject_id", "stay_id", "unit", "due", "placed")
            .sort("due", "measure", "subject_id", nulls_last=True)
        )

    def to_frame(self) -> pl.DataFrame:
        """Return the cases."""
        return self.cases


def _outputs(measure: Measure, key: str) -> dict[str, Any]:
    """The outputs that the engine must return for one measure."""
    missing_number = m.Missing(of="number", unit="1")
    placed = measure.placed_at
    where = m.Frame(
        source="movements",
        upper=(
            m.Bound(time=m.FirstKnown(of=(placed, m.PointField(name="now")))),
            # Where the patient goes at the very end is the next stay's unit.
            m.Bound(time=m.PointField(name="stay_end"), closed=False, open_if_missing=True),
        ),
        lower=(m.Bound(time=m.PointField(name="stay_start"), open_if_missing=True),),
    )
    outputs: dict[str, Any] = {
        f"{key}_status": measure.status,
        f"{key}_placed": placed,
        f"{key}_due": measure.due or m.Missing(of="time"),
        f"{key}_value": measure.observation or missing_number,
        f"{key}_per": measure.per or missing_number,
        f"{key}_treated": measure.treated or m.Missing(of="boolean"),
        f"{key}_interval": measure.interval or missing_number,
        f"{key}_unit": m.Pick(frame=where, which="last", field="code"),
    }
    for group, letter in (
        (measure.exclusions, "x"),
        (measure.components, "c"),
        (measure.stratifiers, "s"),
    ):
        for number, named in enumerate(group):
            outputs[f"{key}_{letter}{number}"] = named.of
    return outputs


def outputs_of(measures: Sequence[Measure]) -> dict[str, Any]:
    """Return all outputs that the engine must return for some measures."""
    outputs: dict[str, Any] = {}
    for number, measure in enumerate(measures):
        outputs |= _outputs(measure, f"m{number}")
    return outputs


def _named_true(key: str, letter: str, names: Sequence[str]) -> pl.Expr:
    if not names:
        return pl.lit([], dtype=pl.List(pl.String))
    return (
        pl.concat_list(
            pl.when(pl.col(f"{key}_{letter}{number}")).then(pl.lit(name))
            for number, name in enumerate(names)
        )
        .list.drop_nulls()
        .cast(pl.List(pl.String))
    )


def _strata(measure: Measure, key: str) -> pl.Expr:
    parts = [
        pl.struct(
            pl.lit(named.name).alias("name"),
            pl.col(f"{key}_s{number}").cast(pl.String).alias("value"),
        )
        for number, named in enumerate(measure.stratifiers)
    ]
    if not parts:
        return pl.lit([], dtype=CASES["strata"])
    return pl.concat_list(parts)


def _cases_of(measure: Measure, key: str, frame: pl.DataFrame) -> pl.DataFrame:
    kept = frame.filter(pl.col(f"{key}_status") != "outside")
    columns = {
        "measure": pl.lit(measure.id),
        "status": pl.col(f"{key}_status"),
        "placed": pl.col(f"{key}_placed"),
        "due": pl.col(f"{key}_due"),
        "value": pl.col(f"{key}_value"),
        "per": pl.col(f"{key}_per"),
        "treated": pl.col(f"{key}_treated"),
        "interval": pl.col(f"{key}_interval"),
        "unit": pl.col(f"{key}_unit").str.strip_prefix("UNIT//"),
        "excluded_by": _named_true(key, "x", [one.name for one in measure.exclusions]),
        "components_met": _named_true(key, "c", [one.name for one in measure.components]),
        "strata": _strata(measure, key),
        "subject_id": pl.col("subject_id"),
        "stay_id": pl.col("stay_id"),
    }
    return kept.select(columns[name].cast(dtype).alias(name) for name, dtype in CASES.items())


def _frames(measure: Measure) -> list[m.Frame]:
    found: dict[str, m.Frame] = {}
    parts = [measure.population, measure.status, measure.placed_at]
    parts += [one for one in (measure.observation, measure.per) if one is not None]
    for part in parts:
        for node in m.walk(part):
            if isinstance(node, m.Frame) and node.source == "events":
                found[node.digest] = node
    return list(found.values())


def _sources(
    snapshot: Snapshot, binding: Binding, measures: Sequence[Measure]
) -> dict[str, Sources]:
    codes_of: dict[str, set[str]] = {}
    known = set(binding.kinds.filter(pl.col("source") == "events")["code"].to_list())
    for measure in measures:
        codes: set[str] = set()
        for frame in _frames(measure):
            found = binding.own_codes_of(frame)
            codes |= known if found is None else found
        codes_of[measure.id] = codes
    wanted = sorted(set().union(*codes_of.values())) if codes_of else []
    counted = (
        snapshot.events()
        .filter(pl.col("code").is_in(wanted))
        .group_by("code")
        .agg(
            pl.len().alias("rows"),
            pl.col("recorded_assumed").sum().alias("assumed"),
            (pl.col("precision") == "day").sum().alias("dates"),
        )
        .collect(engine="streaming")
    )
    sources: dict[str, Sources] = {}
    for name, codes in codes_of.items():
        some = counted.filter(pl.col("code").is_in(list(codes)))
        rows = int(some["rows"].sum())
        sources[name] = Sources(
            rows=rows,
            assumed=int(some["assumed"].sum()) / rows if rows else None,
            dates_only=int(some["dates"].sum()) / rows if rows else None,
        )
    return sources


def run_measures(
    snapshot: Snapshot,
    measures: Programme | Sequence[Measure],
    *,
    only: Sequence[Measure] | None = None,
    engine: Engine = "relational",
    warehouse: Warehouse | None = None,
    subjects: Sequence[int] | None = None,
) -> MeasureRun:
    """Run measures for every stay, or subject, of a hospital at the data cut.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital as known at one time; that time is *now* of the measures.
    measures : Programme or sequence of Measure
        What to run.
    only : sequence of Measure, optional
        Of a programme only these.
    engine : {"relational", "reference"}
        The reference engine is for few patients.
    warehouse : Warehouse, optional
        Where the relational engine runs; DuckDB in this process by default.
    subjects : sequence of int, optional
        Only these.

    Returns
    -------
    MeasureRun

    Examples
    --------
    A whole programme; see also ``neva quality measure``::

        hospital = neva.open("hospital")
        run = run_measures(hospital.snapshot(), load_programme("covid19"))
        run.pending()
    """
    programme = measures if isinstance(measures, Programme) else None
    chosen = tuple(measures.measures if isinstance(measures, Programme) else measures)
    if only is not None:
        chosen = tuple(only)
    binding = bind(snapshot)
    parts: list[pl.DataFrame] = []
    errors: list[pl.DataFrame] = []
    outside: dict[str, int] = {}
    points: dict[str, pl.DataFrame] = {}
    for each in ("stay", "subject"):
        these = [one for one in chosen if one.each == each]
        if not these:
            continue
        placed = points_of(snapshot, EachStay() if each == "stay" else EachSubject())
        if subjects is not None:
            placed = placed.filter(pl.col("subject_id").is_in(list(subjects)))
        points[each] = placed
        answers = answer(
            snapshot,
            outputs_of(these),
            points=placed,
            engine=engine,
            warehouse=warehouse,
            binding=binding,
        )
        errors.append(answers.errors.select("subject_id", "stay_id", "reason"))
        for number, measure in enumerate(these):
            parts.append(_cases_of(measure, f"m{number}", answers.frame))
            outside[measure.id] = answers.frame.height - parts[-1].height
    order = {one.id: number for number, one in enumerate(chosen)}
    cases = pl.concat(parts) if parts else pl.DataFrame(schema=CASES)
    cases = cases.sort(
        pl.col("measure").replace_strict(order, return_dtype=pl.Int64, default=None),
        "placed",
        "subject_id",
        "stay_id",
    )
    return MeasureRun(
        programme="" if programme is None else f"{programme.name} {programme.version}",
        settings={} if programme is None else dict(programme.settings),
        measures=chosen,
        cases=cases,
        outside=outside,
        errors=pl.concat(errors).unique().sort("subject_id", "stay_id")
        if errors
        else pl.DataFrame(
            schema={"subject_id": pl.Int64, "stay_id": pl.Int64, "reason": pl.String}
        ),
        hashes={one.id: content_hash(one) for one in chosen},
        sources=_sources(snapshot, binding, chosen),
        now=snapshot.now,
        identity=snapshot.identity,
        zone=snapshot.zone,
        refused=int(snapshot.quarantine().select(pl.len()).collect().item()),
        engine=engine,
        points=points,
    )
