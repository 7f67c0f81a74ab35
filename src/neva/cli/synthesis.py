"""``neva synthesise``: a synthetic hospital, as a folder or as messages."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from neva.cli.console import Json, moment, now, progress, table, tell
from neva.errors import UsageError
from neva.events.clock import zone_named
from neva.events.hospital import create_hospital, open_hospital

if TYPE_CHECKING:
    from neva.synthesis import Plan
    from neva.synthesis.live import Report

__all__ = ["add_to"]

Stays = Annotated[int, typer.Option(help="how many stays have started by the data cut")]
Seed = Annotated[int, typer.Option(help="another seed, another hospital")]
Zone = Annotated[str, typer.Option(help="time zone of the hospital")]
Operations = Annotated[
    bool,
    typer.Option(
        "--operations",
        help="add expected discharges, delays, bed requests, isolation, closed beds",
    ),
]


class _FolderOrVerb(TyperGroup):
    """A group that is a command itself: a first argument that is no verb is the folder."""

    allow_extra_args = False
    allow_interspersed_args = True

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        verb = self.commands.get(args[0]) if args else None
        if verb is not None:
            return verb.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    group = typer.Typer(
        cls=_FolderOrVerb,
        invoke_without_command=True,
        subcommand_metavar="",
        rich_markup_mode=None,
    )
    group.callback()(synthesise)
    group.command()(live)
    app.add_typer(group, name="synthesise")


def synthesise(
    hospital: Annotated[
        Path, typer.Argument(metavar="HOSPITAL", help="folder of the hospital; created if absent")
    ],
    stays: Stays = 1000,
    seed: Seed = 1,
    zone: Zone = "Europe/Moscow",
    after_cut: Annotated[
        bool,
        typer.Option("--after-cut", help="add what became known after the data cut"),
    ] = False,
    operations: Operations = False,
    as_json: Json = False,
) -> None:
    """Create a synthetic hospital, with its planted truth beside it.

    Example: neva synthesise synthetic-hospital --stays 200 --seed 1
    """
    from neva.synthesis import Plan
    from neva.synthesis import synthesise as fill

    zone_named(zone)
    plan = Plan(stays=stays, seed=seed, zone=zone, operations=operations)
    _check_folder(hospital)
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


def _check_folder(hospital: Path) -> None:
    if hospital.is_file():
        message = f"{hospital}: not a folder; found a file; give a folder that does not exist"
        raise UsageError(message)


def live(
    to: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="the receiver of the messages (MLLP)"),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="write the messages to a file, in frames of MLLP"),
    ] = None,
    prepare: Annotated[
        Path | None,
        typer.Option(
            metavar="HOSPITAL", help="make the hospital with codes, units and beds, no patient"
        ),
    ] = None,
    stays: Stays = 1000,
    seed: Seed = 1,
    zone: Zone = "Europe/Moscow",
    operations: Operations = False,
    speed: Annotated[
        float,
        typer.Option(help="60: an hour in a minute; 0: as fast as messages are acknowledged"),
    ] = 60.0,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="hospital time from which on it has that speed"
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="hospital time at which it ends")
    ] = None,
    earlier: Annotated[
        Literal["send", "skip"],
        typer.Option(help="what was told before --from: sent first without pause, or left out"),
    ] = "send",
    disorder: Annotated[
        Literal["none", "real"],
        typer.Option(help="real: repeated, late, wrong and cancelled messages, merged records"),
    ] = "none",
    connections: Annotated[int, typer.Option(help="to the receiver, at the same time")] = 1,
    as_json: Json = False,
) -> None:
    """Send a synthetic hospital as HL7 v2 messages, as if it were at work.

    Example: neva synthesise live --stays 40 --write messages.hl7
    """
    from neva.synthesis import Plan
    from neva.synthesis.live import Address, Pace, Sender
    from neva.synthesis.messages import Disorder, Traffic, write_frames

    if to is None and write is None and prepare is None:
        message = "live: nothing to do; found none of --to, --write, --prepare; give one of them"
        raise UsageError(message)
    zone_named(zone)
    plan = Plan(stays=stays, seed=seed, zone=zone, operations=operations)
    address = None if to is None else Address.read(to)
    pace = Pace(
        speed=speed,
        begin=moment(from_, zone, "--from"),
        until=moment(until, zone, "--until"),
        earlier=earlier,
    )
    content: dict[str, Any] = {
        "synthetic": True, "stays": plan.stays, "seed": plan.seed, "zone": plan.zone,
        "begins": plan.begins, "cut": plan.cut,
    }  # fmt: skip
    lines = ["synthetic data; no rate in it was estimated from any patient"]
    if prepare is not None:
        content["prepared"] = _prepared(prepare, plan)
        lines.append(f"{prepare}: codes, units and beds are there, no patient")
    if write is not None or address is not None:
        traffic = Traffic.of(plan, Disorder() if disorder == "real" else None)
        if write is not None:
            first = pace.begin if pace.earlier == "skip" else None
            written = write_frames(traffic, write, begin=first, until=pace.until)
            content["written"] = {"file": write, "triggers": dict(sorted(written.items()))}
            lines.append(f"{write}: {written.total():,} messages")
        if address is not None:
            with progress(f"sending to {address}", of="messages") as update:
                sender = Sender(
                    traffic, address, pace=pace, connections=connections, progress=update
                )
                try:
                    sender.run()
                except KeyboardInterrupt:
                    lines.append("interrupted")
            report = sender.report()
            content["sent"] = asdict(report)
            lines += _reported(report)
    tell(as_json, content, "\n".join(lines))


def _prepared(hospital: Path, plan: Plan) -> Any:
    from neva.synthesis import prepare

    _check_folder(hospital)
    made = not (hospital / "current").exists()
    store = (
        create_hospital(hospital, zone=plan.zone, now=now()) if made else open_hospital(hospital)
    )
    try:
        return prepare(store, plan, now=now())
    except BaseException:
        if made:
            shutil.rmtree(hospital, ignore_errors=True)
        raise


def _reported(report: Report) -> list[str]:
    answers = ", ".join(f"{code} {count:,}" for code, count in report.answers.items())
    lines = [
        f"{report.messages:,} messages in {report.seconds:,.1f} s; answered: {answers or 'none'}"
    ]
    if report.first is not None and report.last is not None:
        span = f"{report.first:%Y-%m-%d %H:%M} to {report.last:%Y-%m-%d %H:%M} UTC"
        lines.append(f"hospital time {span}")
    if report.resent:
        lines.append(
            f"{report.resent:,} sent once more without an acknowledgement; "
            f"{report.connected:,} connections opened"
        )
    return lines
