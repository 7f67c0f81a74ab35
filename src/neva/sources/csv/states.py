"""Rows that hold a whole trajectory: states and the days in each.

The layout of cohort studies and multi-state models: one row a subject, a
column for each state in turn, a column for the days in it.
"""

from __future__ import annotations

import polars as pl

from neva.events.codes import FOLLOW_UP_END, join_code
from neva.sources.csv.fields import Fields, reason_where
from neva.sources.csv.mapping import Number, Recorded, StateRule, Text, Time

__all__ = ["state_rows"]

_MOST_DAYS = 36_525


def _steps(fields: Fields, rule: StateRule) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row for each state of each subject, with the days at which it starts and ends.

    Columns ``subject``, ``row``, ``file``, ``k`` (place in the sequence),
    ``state``, ``from`` and ``until`` (days since the start; ``until`` missing
    for the last state). A state that repeats the one before it continues it.
    """
    frame = fields.frame
    names = {**rule.map, **dict.fromkeys(rule.none, "")}
    columns: dict[str, pl.Series] = {"subject": frame["_subject"]}
    for k, name in enumerate(rule.states):
        columns[f"state{k}"] = fields.text(Text(column=name, map=names), name)
    for k, name in enumerate(rule.durations):
        days = fields.number(Number(column=name), name)[0]
        # 100 years; what is not a number is not between either.
        no_days = days.is_not_null() & ~days.is_between(0, _MOST_DAYS)
        fields.refuse(name, reason_where(no_days, "value-unreadable"))
        columns[f"days{k}"] = days
    file = frame["_file"][0] if frame.height else ""
    read, refused = fields.split(columns, "events", file)
    so_far = pl.lit(0.0)
    going: pl.Expr = pl.lit(value=True)
    steps = []
    for k in range(len(rule.states)):
        going = going & (pl.col(f"state{k}").fill_null("") != "")
        if k > 0:
            if k > len(rule.durations):
                break
            going = going & pl.col(f"days{k - 1}").is_not_null()
            so_far = so_far + pl.col(f"days{k - 1}")
        steps.append(
            read.filter(going).select(
                "subject",
                "row",
                "file",
                k=pl.lit(k),
                state=pl.col(f"state{k}"),
                **{"from": so_far},
            )
        )
    merged = (
        pl.concat(steps)
        .sort("row", "k")
        .filter(pl.col("state").ne_missing(pl.col("state").shift(1).over("row")))
    )
    return merged.with_columns(until=pl.col("from").shift(-1).over("row")), refused


def _time_after_days(fields: Fields, rule: StateRule, frame: pl.DataFrame, days: str) -> pl.Series:
    """Calendar time of a number of days after the row's start."""
    spec = rule.start.model_dump() | {"plus": days, "plus_unit": "days"}
    there = Fields(frame, fields.mapping, fields.zone)
    return there.time(Time.model_validate(spec), "start")[0]


def state_rows(
    fields: Fields, rule: StateRule, *, recorded: Recorded, width: int
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Turn trajectories into events, stays and deaths.

    Parameters
    ----------
    fields : Fields
        Rows with ``_subject``, ``_row`` and ``_file`` beside the file's columns.
    rule : StateRule
        What the columns mean.
    recorded : Recorded
        Its delay is added to the time of each state.
    width : int
        Room for the events of one row in ``sequence``.

    Returns
    -------
    tables : dict of str to polars.DataFrame
        ``subjects``, ``stays`` and ``events``.
    refused : polars.DataFrame
        Quarantine rows.
    """
    steps, refused = _steps(fields, rule)
    starts = fields.frame.select(
        pl.col("_row").alias("row"),
        *rule.start.columns(),
        *([rule.follow_up] if rule.follow_up else []),
    ).unique("row", keep="first", maintain_order=True)
    steps = steps.join(starts, on="row", how="left", maintain_order="left").with_columns(
        _from=pl.col("from"), _until=pl.col("until")
    )
    ends = pl.col("state").is_in(rule.ends)
    # A stay is what lies between the states that end one.
    steps = steps.with_columns(
        number=(ends.cast(pl.Int64).cum_sum() - ends.cast(pl.Int64)).over("row") + 1
    ).with_columns(stay=pl.format("{}/{}", "subject", "number"))
    steps = steps.with_columns(
        time=_time_after_days(fields, rule, steps, "_from"),
        end_time=_time_after_days(fields, rule, steps, "_until"),
    ).with_columns(end_time=pl.when(~pl.col("state").is_in(rule.ends)).then("end_time"))
    delay = pl.lit(recorded.delay)
    events = steps.select(
        "subject",
        "stay",
        "time",
        "end_time",
        "file",
        "row",
        precision=pl.lit("day"),
        code=pl.lit(join_code(rule.system, "")) + pl.col("state"),
        sequence=pl.col("row") * width + pl.col("k"),
        recorded=pl.col("time") + delay,
        recorded_assumed=pl.lit(value=True),
    )
    ended = pl.col("state").is_in(rule.ends)
    stays = (
        steps.group_by("stay", maintain_order=True)
        .agg(
            pl.col("subject", "file", "row", "time").first(),
            end=pl.col("time").filter(ended).first(),
            outcome=pl.col("state").filter(ended).first(),
            # A sequence that begins with an ending state holds no stay.
            _lived=(~ended).any(),
        )
        .filter("_lived")
        .select(
            "stay",
            "subject",
            "file",
            "row",
            "end",
            "outcome",
            start="time",
            precision=pl.lit("day"),
            kind=pl.lit(rule.kind),
            recorded=pl.col("time") + delay,
            recorded_assumed=pl.lit(value=True),
        )
    )
    died = steps.filter(pl.col("state").is_in(rule.deaths)).select(
        "subject",
        "file",
        "row",
        death="time",
        death_precision=pl.lit("day"),
        recorded=pl.col("time") + delay,
        recorded_assumed=pl.lit(value=True),
    )
    tables = {"stays": stays, "subjects": died, "events": events}
    if rule.follow_up is not None:
        last = steps.group_by("row", maintain_order=True).last().filter(~ended)
        last = last.with_columns(
            pl.max_horizontal(
                pl.col(rule.follow_up).cast(pl.Float64, strict=False), pl.col("from")
            ).alias("_follow_up")
        )
        last = last.with_columns(time=_time_after_days(fields, rule, last, "_follow_up"))
        tables["events"] = pl.concat(
            [
                events,
                last.select(
                    "subject",
                    "stay",
                    "time",
                    pl.lit(None, dtype=events.schema["end_time"]).alias("end_time"),
                    "file",
                    "row",
                    precision=pl.lit("day"),
                    code=pl.lit(FOLLOW_UP_END),
                    sequence=pl.col("row") * width + width - 1,
                    recorded=pl.col("time") + delay,
                    recorded_assumed=pl.lit(value=True),
                ),
            ]
        )
    return tables, refused
