"""``neva feed``: live feeds from a hospital's own systems."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from neva.cli import feed_doors
from neva.cli.console import HospitalPath, Json, now, table, tell
from neva.errors import NotFoundError

__all__ = ["app"]

app = typer.Typer(
    help="Live feeds: HL7 v2 messages taken, applied, checked; what could not be applied; "
    "folders, databases and FHIR servers asked for what is new.",
    no_args_is_help=True,
)
feed_doors.add_to(app)

ProfilePath = Annotated[
    Path, typer.Option("--profile", metavar="FILE", help="the site's profile (YAML)")
]


@app.command()
def hl7v2(
    hospital: HospitalPath,
    profile: ProfilePath,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="where to listen for MLLP")
    ] = "127.0.0.1:2575",
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="NETWORK", help="from where senders may connect"),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="FILE", help="PEM, for TLS")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM, of the certificate")
    ] = None,
    clients: Annotated[
        Path | None,
        typer.Option(
            "--tls-clients", metavar="FILE", help="authorities of the senders' certificates"
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply/--no-apply", help="apply what was taken, beside listening")
    ] = True,
    check: Annotated[
        bool, typer.Option("--check", help="open everything, say what would be taken, and stop")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take HL7 v2 messages over MLLP until stopped, and apply them to the hospital.

    A message is acknowledged when it is on disk. Applying runs in a process of its own.

    Example: neva feed hl7v2 hospital --listen 127.0.0.1:2575 --profile site.yaml --check
    """
    from neva.feeds.running import ListenerSettings, address_of, checked
    from neva.feeds.running import listen as listen_forever

    host, port = address_of(listen)

    def began(at: int, name: str) -> None:
        typer.echo(f"feed {name} listens at {host}:{at}", err=True)

    settings = ListenerSettings(
        hospital=hospital,
        profile=profile,
        host=host,
        port=port,
        networks=tuple(source or ()),
        certificate=certificate,
        key=key,
        clients=clients,
        apply=apply,
    )
    if check:
        name, applied = checked(settings)
        content = {"feed": name, "host": host, "port": port, "applied": applied}
        text = f"feed {name} would listen at {host}:{port}; {applied:,} messages are applied"
        tell(as_json, content, text)
        return
    listen_forever(settings, now=now, began=began)


@app.command("apply")
def apply_(
    hospital: HospitalPath,
    profile: ProfilePath,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="apply what is there, and stop")
    ] = False,
    as_json: Json = False,
) -> None:
    """Apply the messages that were taken to the hospital, until stopped.

    'neva feed hl7v2' does so by itself; one process may apply a feed.

    Example: neva feed apply hospital --profile site.yaml --until-done
    """
    import os
    import signal

    from neva.feeds.running import PARENT, apply_feed

    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if PARENT in os.environ:
        parent = int(os.environ[PARENT])
        signal.signal(signal.SIGINT, signal.SIG_IGN)

        def look() -> None:
            while not stop.wait(1.0):
                if os.getppid() != parent:
                    stop.set()

        threading.Thread(target=look, daemon=True).start()
    total = apply_feed(hospital, profile, now=now, stop=stop, until_done=until_done)
    tell(as_json, {"messages": total}, f"{total:,} messages applied")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="messages: MLLP, batch or plain")],
    profile: ProfilePath,
    zone: Annotated[
        str, typer.Option(help="of times without an offset, where the profile names none")
    ] = "UTC",
    hospital: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="with what was accepted at this hospital's feed desk"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what messages would become, and write nothing.

    No value of a patient is shown: only types, counts, reasons and codes.

    Example: neva feed check messages.hl7 --profile site.yaml
    """
    from neva.events.clock import zone_named
    from neva.feeds.accepted import with_accepted
    from neva.feeds.checking import check_messages
    from neva.feeds.status import feed_folder
    from neva.sources.hl7v2.profile import read_profile

    zone_named(zone)
    if not file.is_file():
        message = f"{file}: no such file; found nothing there; check the path"
        raise NotFoundError(message)
    site = read_profile(profile)
    if hospital is not None:
        site = with_accepted(site, feed_folder(hospital, site.name))
    found = check_messages(file.read_bytes(), site, zone=zone, now=now())

    def text() -> str:
        lines = [f"{found.messages:,} messages; nothing was written"]
        if found.incomplete:
            lines.append(found.incomplete)
        for title, frame in (
            ("what became of them", found.outcomes),
            ("what they say", found.rows),
            ("in doubt", found.doubts),
        ):
            if frame.height:
                lines += ["", f"{title}:", table(frame)]
        return "\n".join(lines)

    tell(as_json, found, text)


@app.command()
def retry(hospital: HospitalPath, profile: ProfilePath, as_json: Json = False) -> None:
    """Apply messages that could not be applied, after the profile was mended.

    Each is applied as of when it arrived.

    Example: neva feed retry hospital --profile site.yaml
    """
    from neva.events.hospital import open_hospital
    from neva.feeds.applier import Applier
    from neva.feeds.dead_letters import dead_letters
    from neva.sources.hl7v2.profile import read_profile

    store, site = open_hospital(hospital), read_profile(profile)
    applied = Applier(store, site, now=now).retry()
    left = dead_letters(store.snapshot(), site.name).height
    content = {"applied": applied.messages, "left": left}
    tell(as_json, content, f"{applied.messages:,} messages applied; {left:,} are left")


@app.command()
def status(hospital: HospitalPath, as_json: Json = False) -> None:
    """Show how each feed is: backlog, last messages, refusals, unknown codes, silence.

    Example: neva feed status hospital
    """
    from neva.events.hospital import open_hospital
    from neva.feeds.status import feed_names, feed_status

    store = open_hospital(hospital)
    feeds = [feed_status(store, name, now()) for name in feed_names(store.path)]

    def text() -> str:
        if not feeds:
            return "no feed; begin one with 'neva feed hl7v2', folder, sql or fhir"
        lines: list[str] = []
        for feed in feeds:
            lines += _status_lines(feed)
        return "\n".join(lines)

    tell(as_json, feeds, text)


def _status_lines(feed: Any) -> list[str]:
    last = feed.last_arrived.isoformat(timespec="seconds") if feed.last_arrived else "never"
    silence = "SILENT" if feed.is_silent else "not silent"
    minutes = feed.expected_within.total_seconds() / 60
    progress = f"{feed.taken:,} taken, {feed.applied:,} applied, backlog {feed.backlog:,}"
    one = "message" if feed.kind == "hl7v2" else "delivery"
    lines = [
        f"feed {feed.name}: {progress}",
        f"  last {one} {last}; {silence} (expected within {minutes:.0f} min)",
    ]
    if feed.problem:
        lines.append(f"  problem: {feed.problem}")
    if feed.outcomes:
        parts = [f"{number:,} {outcome}" for outcome, number in feed.outcomes.items()]
        of = "" if feed.kind == "hl7v2" else "rows: "
        lines.append(f"  {of}{', '.join(parts)}")
    lines += [f"  refused: {reason}: {number:,}" for reason, number in feed.reasons.items()]
    lines += [
        f"  not taken: {reason}: {number:,}"
        for reason, number in feed.figures.get("refused", {}).items()
    ]
    lines += [
        f"  in doubt: {reason} {about} in {kind}: {number:,}"
        for kind, reason, about, number in feed.doubts[:10]
    ]
    lines += [
        f"  accepted at the feed desk: {one.part}: {one.word} is {one.meaning}"
        for one in feed.accepted
    ]
    if feed.last_of:
        lines.append(table(feed.to_frame().with_columns(pl.col("last").dt.to_string("iso:strict"))))
    return lines
