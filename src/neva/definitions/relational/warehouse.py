"""Where plans run: DuckDB inside the process, or Spark on a cluster.

An adapter reads the files of a snapshot, makes the tables that a plan names,
runs its statements and hands back the answers. Nothing here needs a network
or an extension that is not part of the engine's own package.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from neva.definitions.binding import Binding, has_code, reading
from neva.definitions.local_time import microseconds
from neva.definitions.reference.engine import MOST_ITEMS
from neva.definitions.relational.plan import FRAME_COLUMNS, Plan
from neva.events.schema import CODINGS
from neva.events.snapshot import Snapshot

__all__ = ["DuckWarehouse", "SparkWarehouse", "Warehouse", "frames_table"]

_POLARS: Final = {
    "int64": pl.Int64,
    "int32": pl.Int32,
    "float64": pl.Float64,
    "string": pl.String,
    "boolean": pl.Boolean,
}
FOREVER_TEXT: Final = "9223372036854775807"
SOURCES: Final = ("events", "movements", "stays")
#: For so few patients only their rows are read.
FEW_SUBJECTS: Final = 5000
#: Value sets of more codes are joined instead of named.
MOST_NAMED_CODES: Final = 3000


class Warehouse(Protocol):
    """What runs a plan."""

    dialect: str

    def sql(self, table: Any) -> str:
        """Compile an Ibis table."""
        ...

    def run(
        self, plan: Plan, snapshot: Snapshot, binding: Binding, points: pl.DataFrame
    ) -> pl.DataFrame:
        """Run a plan; columns ``point_id`` and ``out_<name>``."""
        ...


def frames_table(plan: Plan, binding: Binding) -> pl.DataFrame:
    """Return the table ``frames``: for each use of a frame the kinds of row that it takes."""
    kinds = binding.kinds
    parts: list[pl.DataFrame] = []
    taken: dict[tuple[str, Any], pl.DataFrame] = {}
    for use in plan.uses:
        frame = use.frame
        # By the content of codelists: an id may stand for two of them.
        key = (frame.source, (frame.codes, frame.codelists, frame.statuses))
        found = taken.get(key)
        if found is None:
            found = kinds.filter(
                pl.col("source") == frame.source, pl.col("status").is_in(list(frame.statuses))
            )
            codes = binding.codes_of(frame)
            if codes is not None:
                found = found.filter(has_code(codes))
            taken[key] = found
        read = [
            [
                None if unit is None else reading(value_unit, unit, binding.molar_mass.get(code))
                for code, value_unit in found.select("code", "value_unit").iter_rows()
            ]
            for unit in (use.condition_unit, use.value_unit)
        ]
        parts.append(
            found.select(
                pl.lit(use.pass_id, dtype=pl.Int32).alias("pass_id"),
                pl.lit(use.number, dtype=pl.Int32).alias("frame"),
                pl.lit(use.window, dtype=pl.Int32).alias("window"),
                pl.lit(frame.of_stay).alias("of_stay"),
                pl.lit(frame.overlapping).alias("overlapping"),
                pl.col("kind"),
                *(
                    pl.Series(
                        f"{name}_{what}",
                        [None if one is None else one[at] for one in read[which]],
                        dtype=pl.Float64,
                    )
                    for which, name in enumerate(("condition", "value"))
                    for at, what in enumerate(("factor", "offset"))
                ),
            )
        )
    schema = {name: _POLARS[dtype] for name, dtype in FRAME_COLUMNS.items()}
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _limits(points: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame | None:
    """Return the latest *now* and *known* of each subject; None where they leave out nothing."""
    cut = microseconds(snapshot.now)
    few = points["subject_id"].n_unique() <= FEW_SUBJECTS
    if not few and (points["now"] == cut).all():
        return None
    return points.group_by("subject_id").agg(pl.col("now").max(), pl.col("known").max())


class _Dialect:
    """What the two databases spell differently."""

    def __init__(self, name: str) -> None:
        self.name = name

    def microseconds(self, column: str) -> str:
        return f"epoch_us({column})" if self.name == "duckdb" else f"unix_micros({column})"

    def text(self, column: str) -> str:
        return f"CAST({column} AS {'VARCHAR' if self.name == 'duckdb' else 'STRING'})"

    def attribute(self, key: str) -> str:
        quoted = key.replace("'", "''")
        return f"attributes['{quoted}']"


def _timeline_query(
    plan: Plan,
    dialect: _Dialect,
    wanted_kinds: pl.DataFrame,
    cut: int | None,
    *,
    limited: bool,
) -> str:
    """Return the query that makes ``timeline`` from the stored tables and ``wanted_kinds``.

    With `limited`, only rows that some point can see are taken: the table
    ``limits`` has the latest *now* and *known* of each subject's points.
    """
    us, text = dialect.microseconds, dialect.text
    wanted = set(plan.row_columns)
    sources = set(wanted_kinds["source"].to_list()) or {"events"}
    parts = []
    limit = "" if cut is None else f" AND {us('recorded')} <= {cut}"
    codes = wanted_kinds.filter(pl.col("source") == "events")["code"].unique().sort().to_list()
    named = ""
    if 0 < len(codes) <= MOST_NAMED_CODES:
        # Named in the query, codes are looked up in the files' dictionaries.
        listed_codes = ", ".join("'" + code.replace("'", "''") + "'" for code in codes)
        named = f" AND e.code IN ({listed_codes})"
    beside = ""
    if wanted_kinds.filter(pl.col("other_codes") != "").height:
        listed_others = ", ".join(f"e.{dialect.attribute(key)}" for key in CODINGS)
        beside = f" AND k.other_codes = CONCAT_WS(CHR(10), {listed_others})"
    null_text = text("NULL")

    def listed(cells: Mapping[str, str]) -> str:
        return ", ".join(f"{value} AS {name}" for name, value in cells.items())

    def cells(source: str, order: str, given: Mapping[str, str]) -> str:
        chosen = {
            name: value
            for name, value in given.items()
            if name in wanted or name.startswith("attribute_")
        }
        if "position" in wanted:
            # Positions of different sources never meet.
            place = 2**40 * SOURCES.index(source)
            chosen["position"] = (
                f"{place} + ROW_NUMBER() OVER (PARTITION BY {given['subject_id']} ORDER BY {order})"
                if source in plan.ordered
                else f"CAST({place} AS BIGINT)"
            )
        return listed(chosen)

    if "events" in sources:
        attributes = {
            f"attribute_{number}": dialect.attribute(key)
            for number, key in enumerate(plan.attributes)
        }
        parts.append(
            "SELECT "
            + cells(
                "events",
                "e.time, e.sequence, e.code, e.value NULLS FIRST, e.event_id, e.recorded",
                {
                    "subject_id": "e.subject_id",
                    "kind": "k.kind",
                    "time": us("e.time"),
                    "recorded": us("e.recorded"),
                    "known_until": f"COALESCE({us('e.retracted')}, {FOREVER_TEXT})",
                    "planned": "e.status = 'planned'",
                    "stay_id": "e.stay_id",
                    "end_time": us("e.end_time"),
                    "value": "e.value",
                    "rank": "CAST(e.rank AS DOUBLE)",
                    "event_id": text("e.event_id"),
                    "code": "e.code",
                    "text": "e.text",
                    "comparator": "e.comparator",
                    "value_unit": "e.value_unit",
                    "status": "e.status",
                    "reason": "e.reason",
                    "of_stays": "FALSE",
                    **attributes,
                },
            )
            + " FROM stored_events e JOIN wanted_kinds k ON k.source = 'events' AND e.code = k.code"
            " AND e.status = k.status AND COALESCE(e.value_unit, '') = COALESCE(k.value_unit, '')"
            + beside
            + (" JOIN limits l ON l.subject_id = e.subject_id" if limited else "")
            + f" WHERE e.time IS NOT NULL{limit.replace('recorded', 'e.recorded')}{named}"
            + (
                f" AND ({us('e.time')} <= l.now OR e.status = 'planned')"
                f" AND {us('e.recorded')} <= l.known"
                if limited
                else ""
            )
        )
    revision = (
        "LEAST(COALESCE({retracted}, {forever}), COALESCE(LEAD({recorded}) OVER "
        "(PARTITION BY {key} ORDER BY recorded, batch), {forever}))"
    )
    for table, key, code, texts in (
        ("movements", "movement_id", "CONCAT('UNIT//', COALESCE(unit, ''))", ("bed", null_text)),
        ("stays", "stay_id", "CONCAT('STAY//', COALESCE(kind, ''))", ("outcome", "source")),
    ):
        if table not in sources:
            continue
        inner = (
            f"SELECT *, {code} AS code, "
            + revision.format(
                retracted=us("retracted"),
                recorded=us("recorded"),
                key=key,
                forever=FOREVER_TEXT,
            )
            + f" AS known_until FROM stored_{table} WHERE TRUE{limit}"
        )
        # The column `kind` of stays would hide the number of the kind.
        parts.append(
            "SELECT "
            + cells(
                table,
                f"r.start, r.code, r.{key}, r.recorded",
                {
                    "subject_id": "r.subject_id",
                    "kind": "k.kind",
                    "time": us("r.start"),
                    "recorded": us("r.recorded"),
                    "known_until": "r.known_until",
                    "planned": "FALSE",
                    "stay_id": "r.stay_id",
                    # Without an end they are open: it lies after any now.
                    "end_time": "COALESCE("
                    + us('r."end"' if dialect.name == "duckdb" else "r.`end`")
                    + f", {FOREVER_TEXT})",
                    "value": "CAST(NULL AS DOUBLE)",
                    "rank": "CAST(NULL AS DOUBLE)",
                    "event_id": text(f"r.{key}"),
                    "code": "r.code",
                    "text": f"r.{texts[0]}",
                    "comparator": null_text,
                    "value_unit": null_text,
                    "status": "'done'",
                    "reason": texts[1] if texts[1] == null_text else f"r.{texts[1]}",
                    "of_stays": "TRUE" if table == "stays" else "FALSE",
                    **{f"attribute_{number}": null_text for number in range(len(plan.attributes))},
                },
            )
            + f" FROM ({inner}) r JOIN wanted_kinds k ON k.source = '{table}' AND r.code = k.code"
        )
    names = [
        *plan.row_columns,
        *(f"attribute_{number}" for number in range(len(plan.attributes))),
    ]
    union = "\nUNION ALL\n".join(parts)
    return f"SELECT {', '.join(names)} FROM (\n{union}\n) u"


def _cut(snapshot: Snapshot) -> int | None:
    return None if snapshot.as_of is None else microseconds(snapshot.as_of)


class DuckWarehouse:
    """DuckDB inside the process; what does not fit into memory goes to a temporary folder.

    Parameters
    ----------
    memory : str, optional
        Limit of DuckDB's memory, as ``2GB``.
    threads : int, optional
        How many; as many as the machine has by default.
    """

    dialect = "duckdb"

    def __init__(self, *, memory: str | None = None, threads: int | None = None) -> None:
        self.memory, self.threads = memory, threads

    def sql(self, table: Any) -> str:
        """Compile an Ibis table."""
        import ibis

        return str(ibis.to_sql(table, dialect="duckdb"))

    def run(
        self, plan: Plan, snapshot: Snapshot, binding: Binding, points: pl.DataFrame
    ) -> pl.DataFrame:
        """Run a plan; columns ``point_id`` and ``out_<name>``."""
        import duckdb

        folder = Path(tempfile.mkdtemp(prefix="neva-"))
        connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "temp_directory": str(folder / "spill"),
                "preserve_insertion_order": False,
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            if self.memory is not None:
                connection.execute(f"SET memory_limit = '{self.memory}'")
            if self.threads is not None:
                connection.execute(f"SET threads = {int(self.threads)}")
            self._supply(connection, plan, snapshot, binding, points)
            for name, query in plan.statements:
                connection.execute(f"CREATE TABLE {name} AS {query}")
            return connection.execute(f"SELECT * FROM {plan.result}").pl()
        finally:
            connection.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _supply(
        self,
        connection: Any,
        plan: Plan,
        snapshot: Snapshot,
        binding: Binding,
        points: pl.DataFrame,
    ) -> None:
        def table(name: str, frame: pl.DataFrame) -> None:
            connection.register("given", frame.to_arrow())
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
            connection.unregister("given")

        table("points", points)
        frames = frames_table(plan, binding)
        table("frames", frames)
        table(
            "counter", pl.DataFrame({"k": pl.int_range(0, MOST_ITEMS, eager=True, dtype=pl.Int64)})
        )
        wanted = binding.kinds.filter(pl.col("kind").is_in(frames["kind"].unique().to_list()))
        table("wanted_kinds", wanted)
        sources = set(wanted["source"].to_list()) or {"events"}
        for source in sources:
            files = snapshot.files(source)
            if files:
                listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
                connection.execute(
                    f"CREATE VIEW stored_{source} AS SELECT * FROM read_parquet([{listed}])"
                )
            else:
                from neva.events.schema import TABLES

                table(f"stored_{source}", pl.DataFrame(schema=TABLES[source]))
        limited = _limits(points, snapshot)
        if limited is not None:
            table("limits", limited)
        query = _timeline_query(
            plan, _Dialect("duckdb"), wanted, _cut(snapshot), limited=limited is not None
        )
        connection.execute(f"CREATE TABLE timeline AS {query}")


class SparkWarehouse:
    """Spark, by a session that the caller has made (extra ``spark``).

    Parameters
    ----------
    session : pyspark.sql.SparkSession
        Its session time zone is set to UTC.
    """

    dialect = "pyspark"

    def __init__(self, session: Any) -> None:
        import ibis

        session.conf.set("spark.sql.session.timeZone", "UTC")
        self.session = session
        self._ibis = ibis.pyspark.connect(session)

    def sql(self, table: Any) -> str:
        """Compile an Ibis table."""
        from sqlglot import exp, parse_one

        tree = parse_one(str(self._ibis.compile(table)), read="spark")
        # Spark reads 0.1 as a decimal and would round what is made of it.
        for literal in list(tree.find_all(exp.Literal)):
            if not literal.is_string and not literal.this.isdigit():
                literal.replace(exp.cast(literal.copy(), "double"))
        return str(tree.sql(dialect="spark"))

    def run(
        self, plan: Plan, snapshot: Snapshot, binding: Binding, points: pl.DataFrame
    ) -> pl.DataFrame:
        """Run a plan; columns ``point_id`` and ``out_<name>``."""
        folder = Path(tempfile.mkdtemp(prefix="neva-"))
        made: list[str] = []

        def table(name: str, frame: pl.DataFrame) -> None:
            path = folder / f"{name}.parquet"
            frame.write_parquet(path)
            self.session.read.parquet(str(path)).createOrReplaceTempView(name)
            made.append(name)

        try:
            table("points", points)
            frames = frames_table(plan, binding)
            table("frames", frames)
            table(
                "counter",
                pl.DataFrame({"k": pl.int_range(0, MOST_ITEMS, eager=True, dtype=pl.Int64)}),
            )
            wanted = binding.kinds.filter(pl.col("kind").is_in(frames["kind"].unique().to_list()))
            table("wanted_kinds", wanted)
            sources = set(wanted["source"].to_list()) or {"events"}
            for source in sources:
                self._stored(snapshot, source, table)
            limited = _limits(points, snapshot)
            if limited is not None:
                table("limits", limited)
            statements: Sequence[tuple[str, str]] = (
                (
                    "timeline",
                    _timeline_query(
                        plan,
                        _Dialect("spark"),
                        wanted,
                        _cut(snapshot),
                        limited=limited is not None,
                    ),
                ),
                *plan.statements,
            )
            for name, query in statements:
                result = self.session.sql(query).localCheckpoint()
                result.createOrReplaceTempView(name)
                made.append(name)
            rows = self.session.table(plan.result).toArrow()
            return pl.DataFrame(pl.from_arrow(rows))
        finally:
            for name in made:
                self.session.catalog.dropTempView(name)
            shutil.rmtree(folder, ignore_errors=True)

    def _stored(self, snapshot: Snapshot, source: str, table: Any) -> None:
        from neva.events.schema import TABLES

        files = snapshot.files(source)
        if files:
            self.session.read.parquet(*files).createOrReplaceTempView(f"stored_{source}")
        else:
            table(f"stored_{source}", pl.DataFrame(schema=TABLES[source]))
