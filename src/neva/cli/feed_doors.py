"""``neva feed folder``, ``sql`` and ``fhir``: feeds that are asked for what is new."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from neva.cli.console import HospitalPath, Json, now, tell
from neva.errors import UsageError

__all__ = ["add_to"]

Name = Annotated[str, typer.Option("--name", help="of the feed: small letters, digits, hyphens")]
Once = Annotated[
    bool, typer.Option("--once", help="take what is there, and stop: for cron, and to try it out")
]
Again = Annotated[
    bool,
    typer.Option("--again", help="begin from the beginning, after mending; known rows add nothing"),
]
MostRefused = Annotated[
    float,
    typer.Option(min=0, max=1, help="share of the rows of a table that may be refused"),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(folder)
    app.command()(sql)
    app.command()(fhir)


def _stop(*, once: bool) -> threading.Event:
    """Return what is set when the process is told to end."""
    stop = threading.Event()
    for number in () if once else (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _tell(hospital: Any, name: str, *, as_json: bool) -> None:
    """Print how the feed is."""
    from neva.feeds.status import feed_status

    found = feed_status(hospital, name, now())
    rows = ", ".join(f"{number:,} {what}" for what, number in found.outcomes.items())
    tell(
        as_json, found, f"feed {name}: {found.applied:,} deliveries so far; rows: {rows or 'none'}"
    )


def folder(
    hospital: HospitalPath,
    name: Name,
    watch: Annotated[Path, typer.Option(metavar="FOLDER", help="where files arrive")],
    source: Annotated[str, typer.Option(metavar="csv|fhir|hl7v2", help="what the files are")],
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="csv: what the columns mean")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="hl7v2: the site's profile (YAML)")
    ] = None,
    marker: Annotated[
        bool,
        typer.Option("--marker", help="a file is complete when FILE.done or FILE.ok is beside it"),
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="fhir: a setting of the source"),
    ] = None,
    most_refused: MostRefused = 0.05,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two looks")] = 5.0,
    once: Once = False,
    as_json: Json = False,
) -> None:
    """Take the files that arrive in a folder, each once, until stopped.

    A file is complete when it did not change between two looks, or by a marker. It is
    moved to FOLDER/taken, or to FOLDER/refused with the reason beside it.

    Example: neva feed folder hospital --name night-export --watch incoming --source csv
      --mapping log.yaml --every 0.2 --once
    """
    from neva.cli.store import settings_of
    from neva.events.hospital import open_hospital
    from neva.feeds.doors.door import Door, keep_looking
    from neva.feeds.doors.folder import FolderSettings, WatchedFolder
    from neva.feeds.running import apply_feed
    from neva.feeds.status import feed_status
    from neva.sources.fhir.source import open_fhir
    from neva.sources.hl7v2.profile import read_profile
    from neva.sources.settings import read_settings

    if source not in ("csv", "fhir", "hl7v2"):
        message = f"--source: must be csv, fhir or hl7v2; found {source!r}; choose one of them"
        raise UsageError(message)
    store = open_hospital(hospital)
    if setting and source != "fhir":
        message = f"--set: only the fhir source has settings here; found {source}; leave it out"
        raise UsageError(message)
    written = settings_of(setting or [])
    watched = FolderSettings(
        folder=watch,
        source=cast(Literal["csv", "fhir", "hl7v2"], source),
        mapping=mapping,
        profile=profile,
        marker=marker,
        most_refused=most_refused,
        settings=read_settings(open_fhir, written, zone=store.settings.zone) if setting else {},
    )
    with Door(store, name, "folder", now=now, stop=_stop(once=once), patient=not once) as door:
        taker = WatchedFolder(door, watched)
        applied = -1  # what a crash left in the inbox is applied at the first look

        def look() -> bool:
            nonlocal applied
            waiting = taker.look()
            if profile is not None and taker.taken != applied:
                apply_feed(hospital, profile, now=now, stop=threading.Event(), until_done=True)
                applied = taker.taken
            if once and waiting:
                door.stop.wait(every)
            return once and waiting

        keep_looking(door, look, every=every, once=once)
    if profile is None:
        _tell(store, name, as_json=as_json)
        return
    found = feed_status(store, read_profile(profile).name, now())
    text = f"feed {found.name}: {found.applied:,} messages applied so far"
    tell(as_json, found, text)


def sql(
    hospital: HospitalPath,
    name: Name,
    mapping: Annotated[
        Path, typer.Option(metavar="FILE", help="queries, and what their columns mean")
    ],
    most_refused: MostRefused = 0.05,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two polls")] = 10.0,
    again: Again = False,
    once: Once = False,
    as_json: Json = False,
) -> None:
    """Poll a database for rows that changed, until stopped; nothing is written to it.

    The mapping says where the address of the database stands: it holds no password.

    Example: neva feed sql hospital --name laboratory --mapping laboratory.yaml --once
    """
    from neva.events.hospital import open_hospital
    from neva.feeds.doors.database import connected, read_database_mapping
    from neva.feeds.doors.door import Door, keep_looking
    from neva.feeds.doors.sql import PolledDatabase

    store = open_hospital(hospital)
    document, model = read_database_mapping(mapping)
    with (
        connected(model.database) as engine,
        Door(store, name, "sql", now=now, stop=_stop(once=once), patient=not once) as door,
    ):
        polled = PolledDatabase(
            door, document, model, engine, again=again, most_refused=most_refused
        )
        keep_looking(door, polled.look, every=every, once=once)
    _tell(store, name, as_json=as_json)


def fhir(
    hospital: HospitalPath,
    name: Name,
    server: Annotated[str, typer.Option(metavar="URL", help="its base address")],
    resources: Annotated[
        str | None,
        typer.Option(metavar="TYPE,...", help="by default all that are read and that it has"),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="names, token, pages, overlap (YAML)")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="listen for notices of subscriptions (rest-hook)"),
    ] = None,
    notify_secret: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="what notices must bring: Authorization: Bearer ..."),
    ] = None,
    payload: Annotated[
        bool,
        typer.Option("--notify-payload", help="take the resources that notices bring"),
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="FILE", help="PEM, for notices")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM, of the certificate")
    ] = None,
    clients: Annotated[
        Path | None,
        typer.Option("--tls-clients", metavar="FILE", help="authorities of the server's own"),
    ] = None,
    subscribe: Annotated[
        str | None,
        typer.Option(metavar="URL", help="make subscriptions at the server; where it reaches us"),
    ] = None,
    show_keys: Annotated[
        bool,
        typer.Option("--show-key-set", help="print the public key to register, and stop"),
    ] = False,
    most_refused: MostRefused = 0.05,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two polls")] = 30.0,
    again: Again = False,
    once: Once = False,
    as_json: Json = False,
) -> None:
    """Poll a FHIR R4 server for resources that changed, until stopped.

    With --notify it is told of changes at once, with --notify-payload what they are.

    Example: neva feed fhir hospital --name ehr --server http://127.0.0.1:8080/fhir
      --resources Patient,Encounter,Observation --once
    """
    from neva.events.hospital import open_hospital
    from neva.feeds.doors.door import Door, keep_looking
    from neva.feeds.doors.fhir import PolledServer, types_of
    from neva.feeds.doors.fhir_server import FhirClient, read_server_settings
    from neva.feeds.doors.fhir_tokens import key_set
    from neva.feeds.doors.notice import notice_secret, notices
    from neva.feeds.doors.payloads import Payloads
    from neva.feeds.doors.subscriptions import Subscriptions
    from neva.feeds.listener import tls_of
    from neva.feeds.running import address_of

    if (notify is None) != (notify_secret is None):
        message = "--notify: belongs together with --notify-secret; found one of them; give both"
        raise UsageError(message)
    listens = {"--notify-payload": payload, "--tls-certificate": certificate,
               "--subscribe": subscribe}  # fmt: skip
    for option, given in listens.items():
        if given and notify is None:
            message = f"{option}: belongs to --notify; found no --notify; give it too"
            raise UsageError(message)
    tls = tls_of(certificate, key, clients)
    store = open_hospital(hospital)
    model = read_server_settings(settings)
    if resources is not None:
        named = [one.strip() for one in resources.split(",") if one.strip()]
        model = model.model_copy(update={"resources": named})
    if show_keys:
        if model.oauth is None or model.oauth.private_key_file is None:
            message = (
                "--show-key-set: the settings name no private key; found none; write "
                "oauth.private_key_file"
            )
            raise UsageError(message)
        typer.echo(json.dumps(key_set(model.oauth), indent=2))
        return
    kinds = types_of(model.resources, None)
    wake, stop = threading.Event(), _stop(once=once)
    with ExitStack() as opened:
        client = opened.enter_context(FhirClient(server, model, stop))
        door = opened.enter_context(Door(store, name, "fhir", now=now, stop=stop, patient=not once))
        taken = subscriptions = None
        if payload:
            at_least = int(door.place().get("payloads", 0))
            taken = opened.enter_context(
                Payloads(door.folder, now=now, at_least=at_least, kinds=kinds)
            )
        if notify is not None and notify_secret is not None:
            port = opened.enter_context(
                notices(*address_of(notify), notify_secret, wake, payloads=taken, tls=tls)
            )
            typer.echo(f"feed {name} hears of changes at port {port}", err=True)
            if subscribe is not None:
                secret = notice_secret(notify_secret)
                subscriptions = Subscriptions(door, client, subscribe, secret, payload=payload)
        polled = PolledServer(
            door,
            client,
            model,
            again=again,
            most_refused=most_refused,
            payloads=taken,
            subscriptions=subscriptions,
            every=every,
        )
        keep_looking(door, polled.look, every=every, once=once, wake=wake)
    _tell(store, name, as_json=as_json)
