"""``neva report`` and ``neva demo``: a report in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neva.cli.console import AsOf, HospitalPath, Json, now, progress, snapshot_of, tell
from neva.cli.quality import run_of
from neva.events.synthetic import SYNTHETIC_NOTE

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(report)
    app.command()(demo)


def report(
    hospital: HospitalPath,
    out: Annotated[Path, typer.Option(help="the HTML file to write")],
    activities: Annotated[
        Path | None, typer.Option(help="YAML file that says what counts as an activity")
    ] = None,
    by: Annotated[str, typer.Option(help="what to count by: unit, kind, state or auto")] = "auto",
    state: Annotated[list[str] | None, typer.Option(help="code of a state")] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="YAML file with thresholds of data quality")
    ] = None,
    programme: Annotated[
        list[str] | None, typer.Option(help="a programme whose measures the report shows")
    ] = None,
    cases: Annotated[
        int,
        typer.Option(
            help="patients of each measure to explain; 0 for a report that leaves the hospital"
        ),
    ] = 5,
    title: Annotated[str, typer.Option(help="title of the report")] = "Hospital report",
    note: Annotated[list[str] | None, typer.Option(help="a note for the reader")] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML file: loading, quality, pathways, census, stays, measures.

    Example: neva report hospital --out report.html
    """
    from neva.pathways import read_activities
    from neva.reports import make_report

    _, snapshot = snapshot_of(hospital, as_of)
    made = make_report(
        snapshot,
        made=now(),
        title=title,
        activities=read_activities(activities) if activities else None,
        by=by,
        states=tuple(state or ()),
        thresholds=thresholds,
        notes=tuple(note or ()),
        quality=tuple(run_of(hospital, as_of, name, None)[1] for name in programme or ()),
        cases=cases,
    )
    made.write(out)
    tell(
        as_json,
        {"written": out, "findings": made.findings},
        lambda: "\n".join([*(f"• {line}" for line in made.findings), "", f"report: {out}"]),
    )


def demo(
    folder: Annotated[Path, typer.Argument(help="where to put the hospital and the report")] = Path(
        "build/demo"
    ),
    serve: Annotated[
        bool, typer.Option("--serve", help="then serve both hospitals from this machine")
    ] = False,
    port: Annotated[
        int, typer.Option(help="port to serve on; the cohort is on the next one")
    ] = 8321,
    as_json: Json = False,
) -> None:
    """Load the real cohort that comes with Neva, create synthetic patients, and report on both.

    With --serve the web application opens on them, with accounts of each role.

    Example: neva demo build/demo
    """
    from neva.quality import figures
    from neva.reports.example import (
        run_bed_report,
        run_example,
        run_replay_example,
        run_synthetic_example,
    )

    made, summary, path = run_example(folder, now=now())
    invented, second = run_synthetic_example(folder, now=now())
    beds, morning = run_bed_report(folder, now=now())
    replayed, alerts = run_replay_example(folder, now=now())
    measured = figures(invented.quality[0])

    def text() -> str:
        loaded = (
            "the cohort was loaded before; nothing was added"
            if summary.already_imported
            else f"loaded {summary.total('added'):,} rows from {summary.file}, "
            f"refused {summary.total('refused'):,}"
        )
        lines = [made.title, f"({loaded}; hospital version {summary.version})", ""]
        lines += [f"• {line}" for line in made.findings]
        lines += [
            "",
            invented.title,
            f"({SYNTHETIC_NOTE})",
            "",
        ]
        titles = {one.id: one.title for one in invented.quality[0].measures}
        lines += [
            f"• {titles[row['measure']]}: {row['met']:,} of {row['denominator']:,}, "
            f"{row['excluded']:,} excluded, {row['pending']:,} pending"
            for row in measured.frame.head(5).iter_rows(named=True)
        ]
        first = replayed.rules.row(0, named=True)
        lines.append(
            f"• replayed over the past, {first['rule']} would have shown {first['cards']:,} cards, "
            f"{first['cards_per_100_days']:.0f} for every 100 patient-days"
        )
        short = beds.short()["place"].to_list()
        lines += [
            f"• the next seven days: beds may run short in {', '.join(short) or 'no unit'}",
            "",
            f"report: {path.resolve()}",
            f"report: {second.resolve()}",
            f"morning bed report: {morning.resolve()}",
            f"replay of alerts: {alerts.resolve()}",
            f"hospital: {(folder / 'hospital').resolve()}",
        ]
        return "\n".join(lines)

    content = {
        "report": path,
        "synthetic_report": second,
        "bed_report": morning,
        "replay": alerts,
        "findings": made.findings,
        "import": summary,
        "measures": measured.frame,
    }
    tell(as_json, content, text)
    if serve:
        from neva.web.demonstration import PASSWORD, prepare, serve_demonstration
        from neva.web.living import make_living

        with progress("the living hospital: messages of its past", of="messages") as update:
            living = make_living(folder / "living", now=now(), progress=update)
        prepare(living.hospital, at=now(), live=True)
        prepare(folder / "hospital", at=now(), live=False)
        typer.echo(
            f"\nopen http://127.0.0.1:{port} (synthetic patients; its "
            "messages come in, an hour in a minute), "
            f"http://127.0.0.1:{port + 1} (the real cohort)\n"
            "sign in as viewer, analyst, clinician or administrator; the password of each is "
            f"{PASSWORD}\nstop with Ctrl+C",
            err=True,
        )
        serve_demonstration(folder, host="127.0.0.1", port=port, living=living)
