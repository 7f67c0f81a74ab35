"""Fields of a mapping, evaluated over a batch of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from neva.events.clock import OFFSET, in_order, read_iso, repeated, to_utc
from neva.events.schema import ROWS, TIME
from neva.sources.csv.mapping import Condition, Mapping, Number, Text, Time

__all__ = ["Fields", "exact_duration", "kept", "reason_where"]

#: A hundred years: what is added to a time is not more.
_MOST_DAYS = 36_525
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400, "weeks": 604_800}


def kept(frame: pl.DataFrame, conditions: Sequence[Condition]) -> pl.DataFrame:
    """Return the rows for which all conditions hold."""
    for condition in conditions:
        text = pl.col(condition.column).cast(pl.String)
        if condition.is_ is not None:
            frame = frame.filter(text.is_in(condition.is_))
        if condition.is_not is not None:
            frame = frame.filter(~text.is_in(condition.is_not).fill_null(value=False))
        if condition.present is not None:
            frame = frame.filter(text.is_not_null() == condition.present)
        if condition.matches is not None:
            frame = frame.filter(text.str.contains(condition.matches).fill_null(value=False))
    return frame


@dataclass
class Fields:
    """Evaluates fields over one batch and collects what cannot be read.

    Attributes
    ----------
    frame : polars.DataFrame
        The batch.
    mapping : Mapping
        For its zone, decimal sign and so on.
    zone : str
        Zone of naive times.
    """

    frame: pl.DataFrame
    mapping: Mapping
    zone: str
    _reasons: list[tuple[str, pl.Series]] = field(default_factory=list)
    _warnings: list[tuple[str, pl.Series]] = field(default_factory=list)

    def missing(self, dtype: pl.DataType | type[pl.DataType] = pl.String) -> pl.Series:
        """Return a column of missing values."""
        return pl.repeat(None, self.frame.height, dtype=dtype, eager=True)

    def refuse(self, name: str, reason: pl.Series) -> None:
        """Remember why rows cannot be read; `reason` is missing for the others."""
        if reason.null_count() < len(reason):
            self._reasons.append((name, reason))

    def warn(self, name: str, reason: pl.Series) -> None:
        """Remember what is in doubt about rows that are taken; missing for the others."""
        self._warnings.append((name, reason))

    def warnings(self, rows: pl.DataFrame, table: str) -> pl.DataFrame:
        """Return the warnings about `rows`, which :meth:`split` has read."""
        return pl.concat(
            [
                pl.DataFrame({"row": self.frame["_row"], "reason": reason})
                .filter(pl.col("reason").is_not_null())
                .join(rows.select("file", "row"), on="row", how="inner")
                .select("file", "row", table=pl.lit(table), field=pl.lit(name), reason="reason")
                for name, reason in self._warnings
            ]
            or [pl.DataFrame(schema=ROWS["warnings"])]
        ).unique(maintain_order=True)

    def _raw(self, spec: Text) -> pl.Series:
        if spec.constant is not None:
            return pl.repeat(spec.constant, self.frame.height, dtype=pl.String, eager=True)
        if spec.template is not None:
            parts: list[pl.Expr] = []
            rest = spec.template
            for name in spec.columns():
                before, rest = rest.split("{" + name + "}", 1)
                parts += [pl.lit(before), pl.col(name).cast(pl.String)]
            return self.frame.select(_=pl.concat_str([*parts, pl.lit(rest)])).to_series()
        names = spec.columns()
        if len(names) == 1:
            return self.frame[names[0]]
        return self.frame.select(_=pl.coalesce(pl.col(names).cast(pl.String))).to_series()

    def text(self, spec: Text | None, name: str) -> pl.Series:
        """Evaluate a text field; `name` is what the quarantine calls it."""
        if spec is None:
            return self.missing()
        raw = self._raw(spec)
        found = raw if raw.dtype == pl.String else raw.cast(pl.String)
        if spec.map is None:
            return found
        mapped = found.replace_strict(spec.map, default=None, return_dtype=pl.String)
        if spec.otherwise == "keep":
            return mapped.zip_with(mapped.is_not_null(), found)
        if spec.otherwise == "refuse":
            unknown = found.is_not_null() & mapped.is_null()
            if unknown.any():
                reason = "status-unknown" if name == "status" else "value-unreadable"
                self.refuse(name, reason_where(unknown, reason))
        return mapped

    def truth(self, spec: Text | None, name: str) -> pl.Series:
        """Evaluate a field that is true or false (or yes/no, 1/0, in any case)."""
        if spec is None:
            return self.missing(pl.Boolean)
        written = self.text(spec, name).str.strip_chars().str.to_lowercase()
        read = written.replace_strict(_TRUTHS, default=None, return_dtype=pl.Boolean)
        unread = written.is_not_null() & read.is_null()
        if unread.any():
            self.refuse(name, reason_where(unread, "value-unreadable"))
        return read

    def number(self, spec: Number | None, name: str) -> tuple[pl.Series, pl.Series, pl.Series]:
        """Evaluate a number field: the number, its comparator, and what stays text."""
        if spec is None:
            return self.missing(pl.Float64), self.missing(), self.missing()
        raw = self._raw(spec)
        if raw.dtype.is_numeric():
            return raw.cast(pl.Float64), self.missing(), self.missing()
        written = raw.cast(pl.String).str.strip_chars()
        if spec.map is not None:
            written = self.text(spec, name)
        comparator = self.missing()
        bare = written
        if spec.comparators:
            parts = written.str.extract_groups(r"^([<>])=?\s*(.*)$")
            comparator = parts.struct.field("1")
            bare = parts.struct.field("2").zip_with(comparator.is_not_null(), written)
        if self.mapping.decimal != ".":
            # 1.234 may be a thousand here: not a number that can be read.
            pointed = bare.str.contains(".", literal=True).fill_null(value=False)
            bare = bare.zip_with(~pointed, self.missing())
            bare = bare.str.replace(self.mapping.decimal, ".", literal=True)
        number = bare.cast(pl.Float64, strict=False)
        unread = written.is_not_null() & number.is_null()
        if not unread.any():
            return number, comparator, self.missing()
        if spec.unreadable == "text":
            none = self.missing()
            return number, none.zip_with(unread, comparator), written.zip_with(unread, none)
        self.refuse(name, reason_where(unread, "value-unreadable"))
        return number, comparator, self.missing()

    def whole(self, spec: Number | None, name: str) -> pl.Series:
        """Evaluate a whole number of 32 bits; anything else is refused."""
        number, _, _ = self.number(spec, name)
        whole = number.cast(pl.Int32, strict=False)
        self.refuse(
            name,
            reason_where(
                number.is_not_null() & (whole != number).fill_null(value=True), "value-unreadable"
            ),
        )
        return whole

    def time(self, spec: Time | None, name: str) -> tuple[pl.Series, pl.Series]:
        """Evaluate a time field: UTC, and its precision."""
        if spec is None:
            return self.missing(TIME), self.missing()
        raw = self._raw(spec)
        if raw.dtype in (pl.Date, pl.Datetime):
            time, precision, reason = self._typed(raw)
        elif spec.formats is None:
            written = raw.cast(pl.String).str.strip_chars()
            quick = self._uniform(written)
            if quick is None:
                moments = self._iso(written)
                quick = (moments["time"], moments["precision"], moments["reason"])
            time, precision, reason = quick
        else:
            time, precision, reason = self._formatted(
                raw.cast(pl.String).str.strip_chars(), spec.formats
            )
        if spec.plus is not None:
            amount, _, _ = self.number(Number(column=spec.plus), name)
            most = _MOST_DAYS * _SECONDS["days"] / _SECONDS[spec.plus_unit]
            beyond = amount.is_not_null() & ~amount.abs().is_between(0, most)
            self.refuse(name, reason_where(beyond, "value-unreadable"))
            amount = amount.zip_with(~beyond, self.missing(pl.Float64))
            later_by = exact_duration(amount, _SECONDS[spec.plus_unit])
            if spec.plus_unit in ("days", "weeks"):
                # Whole days are days of the calendar: 24 hours later is another
                # local time when the clock changed in between.
                local = time.dt.convert_time_zone(self.zone).dt.replace_time_zone(None)
                moved = to_utc(local + later_by, self.zone, nonexistent="forward")
                time = moved.struct.field("time")
            else:
                time = time + later_by
        if spec.precision is not None:
            precision = pl.repeat(spec.precision, len(time), dtype=pl.String, eager=True)
        self.refuse(name, reason)
        self._warn_of_clock_changes(spec, raw, time, precision, name)
        return time, precision

    def _warn_of_clock_changes(
        self, spec: Time, raw: pl.Series, time: pl.Series, precision: pl.Series, name: str
    ) -> None:
        """Count local times that the clock showed twice, or never."""
        if getattr(raw.dtype, "time_zone", None) or spec.plus is not None:
            return
        naive = precision != "day"
        if raw.dtype == pl.String:
            naive &= ~raw.str.strip_chars().str.contains(OFFSET).fill_null(value=True)
        twice = (repeated(time, self.zone) & naive).fill_null(value=False)
        if twice.any():
            self.warn(name, reason_where(twice, "time-repeated"))

    def _iso(self, written: pl.Series) -> pl.DataFrame:
        moments = read_iso(written, self.zone).struct.unnest()
        skipped = (moments["reason"] == "time-nonexistent").fill_null(value=False)
        if self.mapping.nonexistent == "forward" and skipped.any():
            self.warn("time", reason_where(skipped, "time-skipped"))
            moments = read_iso(written, self.zone, nonexistent="forward").struct.unnest()
        return moments

    def _typed(self, raw: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series]:
        exact = "day" if raw.dtype == pl.Date else "instant"
        precision = pl.repeat(exact, len(raw), dtype=pl.String, eager=True)
        if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is not None:
            return raw.dt.convert_time_zone("UTC").cast(TIME), precision, self.missing()
        read = self._utc(raw)
        return read["time"], precision, read["reason"]

    def _utc(self, naive: pl.Series) -> pl.DataFrame:
        read = to_utc(naive, self.zone, nonexistent=self.mapping.nonexistent).struct.unnest()
        if self.mapping.nonexistent == "forward" and naive.dtype != pl.Date:
            shown = read["time"].dt.convert_time_zone(self.zone).dt.replace_time_zone(None)
            skipped = (shown != naive.cast(pl.Datetime("us"))).fill_null(value=False)
            if skipped.any():
                self.warn("time", reason_where(skipped, "time-skipped"))
        return read

    def _uniform(self, written: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series] | None:
        """Read a column in which every time is written alike, without offset.

        Most columns are; one pattern for all is several times faster than the
        general reader. None where it does not fit every text.
        """
        example = written.drop_nulls().head(1)
        if not len(example) or len(example[0]) < 16:
            return None
        exact = len(example[0]) > 16
        pattern = "%Y-%m-%d" + ("T" if example[0][10] == "T" else " ") + "%H:%M"
        if exact:
            pattern += ":%S%.f"
        lengths = written.str.len_bytes()
        shortest, longest = lengths.min(), lengths.max()
        allowed = (19, 26) if exact else (16, 16)
        if not (allowed[0] <= int(shortest) and int(longest) <= allowed[1]):  # type: ignore[arg-type]
            return None
        if written.str.contains(":60", literal=True).any():
            return None  # a leap second, which the patterns read as the next minute
        read = written.str.to_datetime(pattern, strict=False, time_unit="us")
        if read.null_count() != written.null_count():
            return None
        both = self._utc(read)
        precision = pl.repeat(
            "instant" if exact else "minute", len(written), dtype=pl.String, eager=True
        )
        return both["time"], precision, both["reason"]

    def in_order(
        self, spec: Time, time: pl.Series, subject: pl.Series, order: pl.Series
    ) -> pl.Series:
        """Let the order of rows tell which of two instants a local time meant.

        When the clock is put back it shows an hour twice. Read as the first,
        a time may lie before the row that precedes it; if the second does not,
        it was the second.

        Parameters
        ----------
        spec : Time
            Where the times came from.
        time : polars.Series
            UTC, the first instant where there are two.
        subject, order : polars.Series
            Whose row it is and where it stands.
        """
        raw = self._raw(spec)
        if raw.dtype == pl.String:
            return in_order(time, raw, self.zone, whose=subject, order=order)
        if getattr(raw.dtype, "time_zone", None):
            return time
        return in_order(time, None, self.zone, whose=subject, order=order)

    def _formatted(
        self, written: pl.Series, formats: list[str]
    ) -> tuple[pl.Series, pl.Series, pl.Series]:
        time = self.missing(TIME)
        precision = self.missing()
        reason = self.missing()
        for pattern in formats:
            open_ = time.is_null() & written.is_not_null() & reason.is_null()
            if not open_.any():
                break
            read = _strptime(written, pattern)
            if read.dtype == pl.Datetime and getattr(read.dtype, "time_zone", None):
                found, why = read.dt.convert_time_zone("UTC").cast(TIME), self.missing()
            else:
                both = self._utc(read)
                found, why = both["time"], both["reason"]
            fits = open_ & read.is_not_null()
            time = found.zip_with(fits, time)
            reason = why.zip_with(fits, reason)
            exact = _precision_of(pattern)
            precision = pl.repeat(exact, len(time), dtype=pl.String, eager=True).zip_with(
                fits, precision
            )
        unread = written.is_not_null() & time.is_null() & reason.is_null()
        if unread.any():
            reason = reason_where(unread, "time-unreadable").zip_with(unread, reason)
        return time, precision, reason

    def split(
        self, columns: dict[str, pl.Series], table: str, file: str
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Part the evaluated rows into those read and those refused."""
        rows = pl.DataFrame(columns).with_columns(file=pl.lit(file), row=self.frame["_row"])
        refused = pl.DataFrame(schema=ROWS["quarantine"])
        if not self._reasons:
            return rows, refused
        why = self.missing()
        where = self.missing()
        for name, reason in self._reasons:
            new = why.is_null() & reason.is_not_null()
            why = reason.zip_with(new, why)
            where = pl.repeat(name, len(new), dtype=pl.String, eager=True).zip_with(new, where)
        bad = why.is_not_null()
        refused = pl.DataFrame(
            {"file": rows["file"], "row": rows["row"], "field": where, "reason": why}
        ).filter(bad)
        refused = refused.with_columns(table=pl.lit(table)).select(
            "file", "row", "table", "field", "reason"
        )
        return rows.filter(~bad), refused


def exact_duration(amount: pl.Series, seconds: int) -> pl.Series:
    """Turn amounts of a unit of time into durations, by whole-number arithmetic.

    0.35 hours are 21 minutes, not a microsecond less.

    Parameters
    ----------
    amount : polars.Series
        Float64; what was written with up to nine decimals is taken as written.
    seconds : int
        In one unit.

    Returns
    -------
    polars.Series
        Duration, µs.
    """
    whole = amount.abs().floor()
    # Billionths of a unit: exact, since an amount has at most 15 to 17 digits.
    rest = ((amount.abs() - whole) * 1e9).round().cast(pl.Int64)
    microseconds = whole.cast(pl.Int64) * (seconds * 1_000_000) + (rest * seconds + 500) // 1_000
    return (microseconds * amount.sign().cast(pl.Int64)).cast(pl.Duration("us"))


def reason_where(mask: pl.Series, reason: str) -> pl.Series:
    """Return `reason` where `mask` holds, missing elsewhere."""
    none = pl.repeat(None, len(mask), dtype=pl.String, eager=True)
    return pl.repeat(reason, len(mask), dtype=pl.String, eager=True).zip_with(mask, none)


def _precision_of(pattern: str) -> str:
    if any(sign in pattern for sign in ("%S", "%T", "%X", "%s", "%+", "%c")):
        return "instant"
    return "minute" if any(sign in pattern for sign in ("%H", "%I", "%R")) else "day"


def _strptime(written: pl.Series, pattern: str) -> pl.Series:
    if _precision_of(pattern) == "day":
        return written.str.to_date(pattern, strict=False)
    return written.str.to_datetime(pattern, strict=False, time_unit="us")
