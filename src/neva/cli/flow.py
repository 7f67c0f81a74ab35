"""``neva flow``: where patients are."""

from __future__ import annotations

from typing import Annotated, Literal

import polars as pl
import typer

from neva.cli import flow_forecast, flow_simulation
from neva.cli.console import AsOf, HospitalPath, Json, snapshot_of, table, tell

__all__ = ["app"]

app = typer.Typer(help="Where patients are and will be.", no_args_is_help=True)

By = Annotated[
    str,
    typer.Option(help="unit, kind (of stay) or state; auto takes what the hospital has"),
]
States = Annotated[
    list[str] | None, typer.Option("--state", help="code of a state (with --by state)")
]


@app.command()
def census(
    hospital: HospitalPath,
    by: By = "auto",
    states: States = None,
    every: Annotated[str, typer.Option(help="1h or 1d")] = "1d",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Count patients per place and period.

    Example: neva flow census hospital --every 1d
    """
    from neva.census import census as count
    from neva.census import intervals_by
    from neva.errors import UsageError

    if every not in ("1h", "1d"):
        message = f"--every: must be 1h or 1d; found {every!r}; choose one of them"
        raise UsageError(message)
    _, snapshot = snapshot_of(hospital, as_of)
    period: Literal["1h", "1d"] = "1h" if every == "1h" else "1d"
    result = count(intervals_by(snapshot, by, states), every=period)
    local = result.frame.with_columns(
        pl.col("time", "until").dt.convert_time_zone(result.zone).dt.replace_time_zone(None)
    )
    tell(
        as_json,
        result,
        lambda: (
            f"{result.what}, local time of {result.zone} ({result.identity})\n\n" + table(local)
        ),
    )


@app.command()
def stays(
    hospital: HospitalPath,
    by: By = "auto",
    states: States = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Describe how long patients stay, those still there included.

    Example: neva flow stays hospital
    """
    from neva.census import intervals_by, length_of_stay

    _, snapshot = snapshot_of(hospital, as_of)
    result = length_of_stay(intervals_by(snapshot, by, states))
    tell(as_json, result, lambda: table(result.frame))


flow_forecast.add_to(app)
flow_simulation.add_to(app)
