"""Rules of a mapping, applied to a batch of rows: rows for the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from neva.events.codes import join_code
from neva.events.schema import ATTRIBUTES, TIME
from neva.sources._times import event_end, whole_last_days
from neva.sources.csv.fields import Fields, kept, reason_where
from neva.sources.csv.mapping import (
    BedRule,
    Code,
    EventRule,
    Mapping,
    MovementRule,
    Number,
    Recorded,
    StateRule,
    StayRule,
    SubjectRule,
    Table,
    Text,
    Time,
    UnitRule,
)
from neva.sources.csv.states import state_rows
from neva.sources.rows import Rows

__all__ = ["TableReader"]

Rule = EventRule | SubjectRule | StayRule | MovementRule | UnitRule | BedRule | StateRule

_LARGEST_ORDER = 2**63 // 1000


@dataclass
class TableReader:
    """Applies one table's rules to its batches, one after the other.

    Attributes
    ----------
    table : Table
        Its part of the mapping.
    mapping : Mapping
        The whole.
    zone : str
        Zone of naive times.
    file : str
        Name of the file that is read.
    """

    table: Table
    mapping: Mapping
    zone: str
    file: str
    _carried: dict[str, object] = field(default_factory=dict)
    _described: set[tuple[str, str]] = field(default_factory=set)

    def rows(self, frame: pl.DataFrame) -> Iterator[Rows]:
        """Yield the rows of one batch (columns as text, ``_row`` beside them)."""
        for number, rule in enumerate(self.table.units):
            yield from self._units(rule, frame, number)
        for beds in self.table.beds:
            yield from self._beds(beds, frame)
        for subjects in self.table.subjects:
            yield from self._subjects(subjects, frame)
        for stays in self.table.stays:
            yield from self._stay_rows(stays, frame)
        for movements in self.table.movements:
            yield from self._movements(movements, frame)
        for states in self.table.states:
            yield from self._states(states, frame)
        for number, events in enumerate(self.table.events):
            if events.wide is None:
                yield from self._long(events, frame, number)
            else:
                yield from self._wide(events, frame, number)

    def filled_down(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Write again what the file writes only where it changes; carried over batches."""
        for name in self.table.fill_down:
            column = frame[name].forward_fill()
            if name in self._carried and column.null_count():
                column = column.fill_null(self._carried[name])
            if len(column):
                self._carried[name] = column[-1]
            frame = frame.with_columns(column.alias(name))
        return frame

    def _fields(self, rule: Rule, frame: pl.DataFrame) -> Fields:
        return Fields(kept(frame, rule.when), self.mapping, self.zone)

    def _own(
        self,
        rule: Rule,
        fields: Fields,
        time: pl.Series | None,
        end: pl.Series | None,
        *,
        stay: bool = True,
        subject: bool = True,
    ) -> dict[str, pl.Series]:
        """Evaluate the columns that every rule has: ids, when known, when withdrawn."""
        columns = {"row_id": fields.text(rule.row_id, "row_id")}
        if subject:
            columns["subject"] = fields.text(rule.subject or self.table.subject, "subject")
        if stay:
            columns["stay"] = fields.text(rule.stay or self.table.stay, "stay")
        recorded, assumed = self._recorded(rule.recorded or self.table.recorded, fields, time, end)
        columns["recorded"] = recorded
        columns["recorded_assumed"] = assumed
        columns["retracted"] = fields.time(rule.retracted, "retracted")[0]
        return columns

    def _recorded(
        self, rule: Recorded, fields: Fields, time: pl.Series | None, end: pl.Series | None
    ) -> tuple[pl.Series, pl.Series]:
        height = fields.frame.height
        assumed_at = fields.missing(TIME)
        if isinstance(rule.after, Time):
            assumed_at = fields.time(rule.after, "recorded")[0]
        elif rule.after == "end" and end is not None:
            assumed_at = end if time is None else end.zip_with(end.is_not_null(), time)
        elif rule.after is not None and time is not None:
            assumed_at = time
        assumed_at = assumed_at + rule.delay
        if rule.column is None:
            return assumed_at, pl.repeat(True, height, dtype=pl.Boolean, eager=True)
        stated, _ = fields.time(rule.column, "recorded")
        return stated.zip_with(stated.is_not_null(), assumed_at), stated.is_null()

    def _sequence(self, fields: Fields, number: int, *, of: int = 1, at: int = 0) -> pl.Series:
        """Return the order between events of one time: the order column's or the row's place."""
        width = max(len(self.table.events), 1) * of
        if self.table.order == "none":
            return pl.repeat(0, fields.frame.height, dtype=pl.Int64, eager=True)
        return self._base(fields) * width + (number * of + at)

    def _base(self, fields: Fields) -> pl.Series:
        """Return where each row stands: its order column, or its place in the file."""
        order = self.table.order
        if isinstance(order, str):
            return fields.frame["_row"]
        base = fields.frame[order.column].cast(pl.Int64, strict=False)
        # So large that room for the events of one row would overflow 64 bits.
        unread = base.is_null() | ~base.is_between(-_LARGEST_ORDER, _LARGEST_ORDER)
        if not unread.any():
            return base
        fields.refuse(order.column, reason_where(unread, "value-unreadable"))
        return base.zip_with(~unread, pl.zeros(len(base), dtype=pl.Int64, eager=True))

    def _done(self, fields: Fields, columns: dict[str, pl.Series], table: str) -> Iterator[Rows]:
        rows, refused = fields.split(columns, table, self.file)
        if refused.height:
            yield Rows("quarantine", refused)
        warned = fields.warnings(rows, table)
        if warned.height:
            yield Rows("warnings", warned)
        if rows.height:
            yield Rows(table, rows, origin=self.mapping.name)

    def _coded(self, rule: Code, fields: Fields) -> pl.Series:
        text = fields.text(Text.model_validate(rule.model_dump(exclude={"system"})), "code")
        if rule.system is None:
            return text
        # An empty text has no code, not the code of nothing.
        return (
            text.to_frame("text")
            .select(
                pl.when(pl.col("text").str.len_bytes() > 0).then(
                    join_code(rule.system, "") + pl.col("text")
                )
            )
            .to_series()
        )

    def _descriptions(self, code: pl.Series, description: pl.Series) -> Iterator[Rows]:
        pairs = (
            pl.DataFrame({"code": code, "description": description})
            .drop_nulls()
            .unique("code", keep="first", maintain_order=True)
        )
        new = [pair for pair in pairs.iter_rows() if pair not in self._described]
        if new:
            self._described.update(new)
            yield Rows("codes", pl.DataFrame(new, schema=["code", "description"], orient="row"))

    def _attributes(self, rule: EventRule, frame: pl.DataFrame) -> pl.Series:
        entries = [
            pl.when(pl.col(name).is_not_null()).then(
                pl.struct(pl.lit(name).alias("key"), pl.col(name).cast(pl.String).alias("value"))
            )
            for name in rule.attributes
        ]
        made = frame.select(_=pl.concat_list(entries).list.drop_nulls()).to_series()
        empty = made.list.len() == 0
        none = pl.repeat(None, frame.height, dtype=ATTRIBUTES, eager=True)
        return none.zip_with(empty, made.cast(ATTRIBUTES))

    def _long(self, rule: EventRule, frame: pl.DataFrame, number: int) -> Iterator[Rows]:
        fields = self._fields(rule, frame)
        if not fields.frame.height:
            return
        if rule.code is None:
            return
        columns = self._timed(rule, fields)
        columns["sequence"] = self._sequence(fields, number)
        columns["code"] = self._coded(rule.code, fields)
        value, comparator, left = fields.number(rule.value, "value")
        columns["value"], columns["comparator"] = value, comparator
        columns["value_unit"] = fields.text(rule.value_unit, "value_unit")
        text = fields.text(rule.text, "text")
        columns["text"] = text.zip_with(text.is_not_null(), left)
        columns["status"] = fields.text(rule.status, "status")
        columns["reason"] = fields.text(rule.reason, "reason")
        columns["rank"] = fields.whole(rule.rank, "rank")
        if rule.attributes:
            columns["attributes"] = self._attributes(rule, fields.frame)
        if rule.description is not None:
            yield from self._descriptions(
                columns["code"], fields.text(rule.description, "description")
            )
        yield from self._done(fields, columns, "events")

    def _timed(self, rule: EventRule, fields: Fields) -> dict[str, pl.Series]:
        """Evaluate when it was, how exactly, when it ended and when it was known."""
        time, precision = fields.time(rule.time, "time")
        if rule.time is None:
            precision = pl.repeat("none", fields.frame.height, dtype=pl.String, eager=True)
        if rule.time is not None and self.table.order != "none":
            subject = fields.text(rule.subject or self.table.subject, "subject")
            time = fields.in_order(rule.time, time, subject, self._base(fields))
        end, end_precision = fields.time(rule.end_time, "end_time")
        end = event_end(end, end_precision, precision, self.zone)
        return {
            **self._own(rule, fields, time, end),
            "time": time,
            "precision": precision,
            "end_time": end,
        }

    def _wide(self, rule: EventRule, frame: pl.DataFrame, number: int) -> Iterator[Rows]:
        whole = self._fields(rule, frame)
        wide = rule.wide or {}
        for at, (name, column) in enumerate(wide.items()):
            # Only the cells that hold something are events.
            fields = Fields(whole.frame.filter(pl.col(name).is_not_null()), self.mapping, self.zone)
            if not fields.frame.height:
                continue
            columns = self._timed(rule, fields)
            columns["sequence"] = self._sequence(fields, number, of=len(wide), at=at)
            code = join_code(rule.system, column.code) if rule.system else column.code
            height = fields.frame.height
            columns["code"] = pl.repeat(code, height, dtype=pl.String, eager=True)
            if column.as_text:
                columns["text"] = fields.text(Text(column=name), "text")
            else:
                how = (
                    rule.value.model_dump(include={"comparators", "unreadable"})
                    if rule.value
                    else {}
                )
                value, comparator, left = fields.number(Number(column=name, **how), name)
                columns["value"], columns["comparator"], columns["text"] = value, comparator, left
            columns["value_unit"] = pl.repeat(
                column.value_unit, height, dtype=pl.String, eager=True
            )
            if rule.row_id is not None:
                columns["row_id"] = columns["row_id"] + f"/{name}"
            yield from self._descriptions(
                columns["code"], pl.repeat(name.strip(), height, dtype=pl.String, eager=True)
            )
            yield from self._done(fields, columns, "events")

    def _subjects(self, rule: SubjectRule, frame: pl.DataFrame) -> Iterator[Rows]:
        fields = self._fields(rule, frame)
        death, precision = fields.time(rule.death, "death")
        born, _ = fields.time(rule.birth_date, "birth_date")
        columns = {
            **self._own(rule, fields, death, None, stay=False),
            "birth_date": born.dt.convert_time_zone(self.zone).dt.date(),
            "sex": fields.text(rule.sex, "sex"),
            "death": death,
            "death_precision": precision,
        }
        yield from self._once(fields, columns, "subjects")

    def _once(self, fields: Fields, columns: dict[str, pl.Series], table: str) -> Iterator[Rows]:
        """Deliver rows that repeat on many lines (a subject, a stay) only once a batch."""
        for rows in self._done(fields, columns, table):
            if rows.table == table:
                compared = [name for name in rows.frame.columns if name not in ("row", "recorded")]
                frame = rows.frame.sort("recorded", maintain_order=True).unique(
                    compared, keep="first", maintain_order=True
                )
                yield Rows(table, frame, origin=rows.origin)
            else:
                yield rows

    def _whole_last_days(
        self,
        rule: StayRule | MovementRule,
        fields: Fields,
        start: pl.Series,
        precision: pl.Series,
        end: pl.Series,
        end_precision: pl.Series,
    ) -> tuple[pl.Series, pl.Series]:
        """Let what ended on a date last through it: the end, and how exactly both are known."""
        columns = {
            "start": start,
            "precision": precision,
            "end": end,
            "end_precision": end_precision,
            "subject": fields.text(rule.subject or self.table.subject, "subject"),
        }
        if isinstance(rule, MovementRule):
            columns["stay"] = fields.text(rule.stay or self.table.stay, "stay")
        whose = [name for name in ("subject", "stay") if name in columns]
        rows = whole_last_days(pl.DataFrame(columns), self.zone, whose=whose)
        return rows["end"], rows["precision"]

    def _interval_columns(
        self, rule: StayRule | MovementRule, fields: Fields
    ) -> dict[str, pl.Series]:
        start, precision = fields.time(rule.start, "start")
        end, end_precision = fields.time(rule.end, "end")
        end, precision = self._whole_last_days(rule, fields, start, precision, end, end_precision)
        own = self._own(rule, fields, start, end)
        return {**own, "start": start, "end": end, "precision": precision}

    def _stay_rows(self, rule: StayRule, frame: pl.DataFrame) -> Iterator[Rows]:
        fields = self._fields(rule, frame)
        columns = {
            **self._interval_columns(rule, fields),
            "kind": fields.text(rule.kind, "kind"),
            "source": fields.text(rule.source, "source"),
            "outcome": fields.text(rule.outcome, "outcome"),
        }
        yield from self._once(fields, columns, "stays")

    def _movements(self, rule: MovementRule, frame: pl.DataFrame) -> Iterator[Rows]:
        fields = self._fields(rule, frame)
        columns = {
            **self._interval_columns(rule, fields),
            "unit": fields.text(rule.unit, "unit"),
            "bed": fields.text(rule.bed, "bed"),
        }
        yield from self._done(fields, columns, "movements")

    def _units(self, rule: UnitRule, frame: pl.DataFrame, number: int) -> Iterator[Rows]:
        del number
        fields = self._fields(rule, frame)
        columns = {
            name: fields.text(getattr(rule, name), name)
            for name in ("unit", "name", "parent", "kind", "specialty")
        }
        columns["recorded"], columns["recorded_assumed"] = self._recorded(
            rule.recorded or self.table.recorded, fields, None, None
        )
        yield from self._once(fields, columns, "units")

    def _beds(self, rule: BedRule, frame: pl.DataFrame) -> Iterator[Rows]:
        fields = self._fields(rule, frame)
        start, _ = fields.time(rule.start, "start")
        end, _ = fields.time(rule.end, "end")
        columns = {
            **self._own(rule, fields, start, end, stay=False, subject=False),
            "start": start,
            "end": end,
            **{
                name: fields.text(getattr(rule, name), name)
                for name in ("unit", "bed", "state", "sex")
            },
            "side_room": fields.truth(rule.side_room, "side_room"),
            "isolation": fields.truth(rule.isolation, "isolation"),
        }
        yield from self._done(fields, columns, "beds")

    def _states(self, rule: StateRule, frame: pl.DataFrame) -> Iterator[Rows]:
        fields = self._fields(rule, frame)
        start, _ = fields.time(rule.start, "start")
        subject = fields.text(rule.subject or self.table.subject, "subject")
        ids, refused = fields.split({"_subject": subject, "_start": start}, "events", self.file)
        if refused.height:
            yield Rows("quarantine", refused)
        ids = ids.select("_subject", _row="row", _file="file")
        frame = ids.join(fields.frame, on="_row", how="left", maintain_order="left")
        written = Fields(frame, self.mapping, self.zone)
        states, unreadable = state_rows(
            written,
            rule,
            recorded=rule.recorded or self.table.recorded,
            width=len(rule.states) + 2,
        )
        if unreadable.height:
            yield Rows("quarantine", unreadable)
        for table, rows in states.items():
            if rows.height:
                yield Rows(table, rows, origin=self.mapping.name)
