"""``neva flow``: where patients are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
import typer

from neva.cli import flow_forecast, flow_simulation
from neva.cli.console import AsOf, HospitalPath, Json, now, snapshot_of, table, tell

if TYPE_CHECKING:
    from neva.events.snapshot import Snapshot

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
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="write a page of trajectories too")
    ] = None,
    as_json: Json = False,
) -> None:
    """Describe how long patients stay, where they go next, and how they leave.

    Example: neva flow stays hospital
    """
    from neva.census import intervals_by, length_of_stay

    _, snapshot = snapshot_of(hospital, as_of)
    result = length_of_stay(intervals_by(snapshot, by, states))
    found, why = _trajectories(snapshot, by, states, out)
    content = {
        "frame": result.frame,
        "curves": result.curves,
        "precision": result.precision,
        "identity": result.identity,
        "trajectories": found,
        "trajectories_note": why,
    }

    def text() -> str:
        lines = ["stays, open ones counted up to the data cut", "", table(result.frame)]
        if found is not None:
            lines += [
                "",
                f"where they go next ({found['cases']:,} cases)",
                "",
                table(found["moves"], rows=60),
                "",
                "how many have left, by days since admission, with 95 % intervals",
                "",
                table(found["exits"]),
                "",
                (
                    "expected remaining days in hospital, for patients who have just "
                    f"arrived (up to {found['horizon_days']:g} days)"
                ),
                "",
                table(found["remaining"]),
            ]
        return "\n".join([*lines, *(["", f"note: {why}"] if why else [])])

    tell(as_json, content, text)


#: Days since admission of which the text tells how many have left.
_DAYS = (1.0, 3.0, 7.0, 14.0, 28.0)


def _trajectories(
    snapshot: Snapshot, by: str, states: list[str] | None, out: Path | None
) -> tuple[dict[str, Any] | None, str]:
    """Trajectories, or why there are none; and a page of them on request."""
    from neva.errors import UsageError
    from neva.flow import sojourns_of, trajectories

    if by == "kind" and out is not None:
        message = (
            "--out: a page of trajectories is of units or states; found kind; give another --by"
        )
        raise UsageError(message)
    if by == "kind":
        return None, "trajectories are of units or states (--by)"
    try:
        found = trajectories(sojourns_of(snapshot, by=by, states=states))
        exits, remaining = found.exits(), found.remaining()
    except UsageError as error:
        if out is not None:
            raise
        return None, str(error)
    if out is not None:
        from neva.events.synthetic import is_synthetic
        from neva.reports.pages.flow import trajectories_page

        trajectories_page(found, made=now(), synthetic=is_synthetic(snapshot)).write(out)
    notes = [f"{state}: no departure was recorded" for state in found.never_left]
    return {
        "cases": found.cases,
        "horizon_days": found.horizon_days,
        "moves": found.counts,
        "occupation": found.to_frame(),
        "exits": exits.filter(pl.col("days").is_in(list(_DAYS))),
        "remaining": remaining,
    }, "; ".join(notes)


flow_forecast.add_to(app)
flow_simulation.add_to(app)
