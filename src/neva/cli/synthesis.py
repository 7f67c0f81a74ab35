"""``neva synthesise``: a synthetic hospital."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from neva.cli.console import Json, now, progress, table, tell
from neva.errors import UsageError
from neva.events.clock import zone_named
from neva.events.hospital import create_hospital, open_hospital

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(synthesise)


def synthesise(
    hospital: Annotated[
        Path, typer.Argument(metavar="HOSPITAL", help="folder of the hospital; created if absent")
    ],
    stays: Annotated[int, typer.Option(help="how many stays have started by the data cut")] = 1000,
    seed: Annotated[int, typer.Option(help="another seed, another hospital")] = 1,
    zone: Annotated[str, typer.Option(help="time zone of the hospital")] = "Europe/Moscow",
    after_cut: Annotated[
        bool,
        typer.Option("--after-cut", help="add what became known after the data cut"),
    ] = False,
    operations: Annotated[
        bool,
        typer.Option(
            "--operations",
            help="add expected discharges, delays, bed requests, isolation, closed beds",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create a synthetic hospital, with its planted truth beside it.

    Example: neva synthesise synthetic-hospital --stays 200 --seed 1
    """
    from neva.synthesis import Plan
    from neva.synthesis import synthesise as fill

    zone_named(zone)
    plan = Plan(stays=stays, seed=seed, zone=zone, operations=operations)
    if hospital.is_file():
        message = f"{hospital}: not a folder; found a file; give a folder that does not exist"
        raise UsageError(message)
    made = not (hospital / "current").exists()
    store = create_hospital(hospital, zone=zone, now=now()) if made else open_hospital(hospital)
    try:
        with progress(f"inventing {stays:,} stays") as update:
            synthesis = fill(store, plan, now=now(), after_cut=after_cut, progress=update)
    except BaseException:
        if made:
            shutil.rmtree(hospital, ignore_errors=True)
        raise
    summary = synthesis.summary
    content = {
        "synthetic": True,
        "stays": plan.stays,
        "seed": plan.seed,
        "zone": plan.zone,
        "begins": plan.begins,
        "cut": plan.cut,
        "days": plan.days,
        "truth": synthesis.truth,
        "import": summary,
        "after_cut": synthesis.after,
    }

    def text() -> str:
        span = f"from {plan.begins:%Y-%m-%d %H:%M} to the data cut {plan.cut:%Y-%m-%d %H:%M} UTC"
        lines = [
            "synthetic data; no rate in it was estimated from any patient",
            f"{plan.stays:,} stays in {plan.days} days, {span}, zone {plan.zone}, seed {plan.seed}",
            "",
        ]
        if summary.already_imported:
            lines.append(f"made before (batch {summary.batch}); nothing to do")
        else:
            lines.append(table(summary.to_frame()))
        if synthesis.after is not None:
            lines += ["", "known after the data cut:"]
            lines.append(
                f"imported before (batch {synthesis.after.batch}); nothing to do"
                if synthesis.after.already_imported
                else table(synthesis.after.to_frame())
            )
        lines += ["", f"truth: {synthesis.truth}"]
        return "\n".join(lines)

    tell(as_json, content, text)
