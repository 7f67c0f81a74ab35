"""``neva serve``: the web server; ``neva worker``: the background tasks that pages request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neva.cli.console import HospitalPath, Json, tell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``neva``."""
    app.command()(serve)
    app.command()(worker)


def serve(
    hospital: HospitalPath,
    host: Annotated[str, typer.Option(help="where to listen")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="where to listen")] = 8321,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="the address that clients know")
    ] = None,
    clients: Annotated[
        Path | None, typer.Option(metavar="FILE", help="who may call; see docs/cds-verify.md")
    ] = None,
    open_to_everyone: Annotated[
        bool,
        typer.Option("--open-to-everyone", help="CDS Hooks answers any caller, without --clients"),
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy", metavar="NETWORK", help="a proxy whose X-Forwarded-For is trusted"
        ),
    ] = None,
    fhir_server: Annotated[
        list[str] | None,
        typer.Option(
            "--fhir-server", metavar="URL", help="servers from which records may be fetched"
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", metavar="URL", help="origins of pages that may call"),
    ] = None,
    programme: Annotated[
        list[str] | None, typer.Option("--programme", metavar="NAME", help="whose rules")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", metavar="FOLDER", help="a saved model to serve"),
    ] = None,
    assigner: Annotated[
        str, typer.Option(help="who gave the ids that clients send; as in the import")
    ] = "fhir",
    clock: Annotated[
        str, typer.Option(help="now of the pages: wall (the time of day), or data (the data cut)")
    ] = "wall",
    wallboard: Annotated[
        bool, typer.Option("--wallboard", help="show the wallboard to everybody who can reach it")
    ] = False,
    wallboard_tokens: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="file with a token for each wallboard screen"),
    ] = None,
    oidc: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="identity provider for sign-in (OpenID Connect)"),
    ] = None,
    notifications: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="notify people of tasks by e-mail or webhook"),
    ] = None,
    downtime: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="folder for the downtime census, written every hour"),
    ] = None,
    upload_limit: Annotated[
        int, typer.Option("--upload-limit", metavar="MB", help="largest size of an uploaded file")
    ] = 500,
    workers: Annotated[int, typer.Option(help="processes for background tasks; 0: none")] = 1,
    feed: Annotated[
        list[str] | None,
        typer.Option(
            "--feed",
            metavar="FILE@HOST:PORT",
            help="take HL7 v2 messages too: a site's profile and where to listen",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="open everything, print what would be served, and stop")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve a hospital: web pages, and CDS Hooks 2.0 for other systems.

    Where other machines can reach it (by --host, --base-url or a --trusted-proxy), CDS
    Hooks needs --clients. Make the first
    account with 'neva accounts add'.

    Example: neva serve hospital --check
    """
    from neva.definitions.programme import programme_names
    from neva.errors import UsageError
    from neva.notifications.settings import read_notification_settings
    from neva.state.settings import WebSettings
    from neva.web.application import create_application

    if clock not in ("wall", "data"):
        message = f"--clock: there are wall and data; found {clock!r}; give one of them"
        raise UsageError(message)
    settings = WebSettings(
        hospital=hospital,
        programmes=tuple(programme or programme_names()),
        models=tuple(model or ()),
        host=host,
        port=port,
        base_url=base_url or f"http://{f'[{host}]' if ':' in host else host}:{port}",
        clients=clients,
        open_to_everyone=open_to_everyone,
        trusted_proxies=tuple(trusted_proxy or ()),
        fhir_servers=tuple(fhir_server or ()),
        origins=tuple(origin or ()),
        assigner=assigner,
        clock=clock,  # type: ignore[arg-type]
        wallboard=wallboard,
        wallboard_tokens=wallboard_tokens,
        oidc=oidc,
        downtime=downtime,
        notifications=notifications,
        upload_bytes=max(upload_limit, 0) * 1_000_000,
    )
    feeds = [_feed_of(one) for one in feed or ()]
    if notifications is not None:
        read_notification_settings(notifications)
    application = create_application(settings)
    services = application.state.bedside.services()
    live = sum(state == "live" for _, state in services.rules)
    if check:
        text = (
            f"{len(services.by_id)} services, {live} live and {len(services.rules) - live} silent "
            f"rules at {settings.base_url}/cds-services"
        )
        if not settings.has_cds_hooks:
            text += (
                "; other machines can reach this address, so CDS Hooks is not served without "
                "--clients"
            )
        elif settings.is_reachable_by_others and clients is None:
            text += "; open to everyone: anyone who can reach the address may call"
        content = {
            "has_cds_hooks": settings.has_cds_hooks,
            "asks_for_tokens": clients is not None,
            "address": settings.base_url,
            "services": sorted(services.by_id),
            "live": live,
            "silent": len(services.rules) - live,
        }
        tell(as_json, content, text)
        application.state.bedside.close()
        return
    from neva.web.serving import serve_forever

    serve_forever(application, settings, workers=workers, feeds=feeds)


def _feed_of(written: str) -> tuple[Path, str]:
    """Read ``FILE@HOST:PORT``; what is wrong is said before anything is served."""
    from neva.errors import UsageError
    from neva.feeds.running import address_of
    from neva.sources.hl7v2.profile import read_profile

    file, _, address = written.rpartition("@")
    if not file:
        message = f"--feed: not FILE@HOST:PORT; found {written!r}; write site.yaml@127.0.0.1:2575"
        raise UsageError(message)
    address_of(address)
    read_profile(Path(file))
    return Path(file), address


def worker(
    hospital: HospitalPath,
    programme: Annotated[
        list[str] | None, typer.Option("--programme", metavar="NAME", help="whose rules")
    ] = None,
    notifications: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="notify people of tasks by e-mail or webhook"),
    ] = None,
    downtime: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="folder for the downtime census, written every hour"),
    ] = None,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="run the queued tasks, and stop")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run background tasks requested by the pages, until stopped (Ctrl-C).

    'neva serve' begins a worker by itself; more of them may run beside it.

    Example: neva worker hospital --until-done
    """
    from neva.definitions.programme import programme_names
    from neva.events.hospital import open_hospital
    from neva.jobs.worker import work_forever
    from neva.notifications.settings import read_notification_settings
    from neva.state.settings import WebSettings

    open_hospital(hospital)  # a wrong path is told before anything is made in it
    if notifications is not None:
        read_notification_settings(notifications)
    settings = WebSettings(
        hospital=hospital,
        programmes=tuple(programme or programme_names()),
        downtime=downtime,
        notifications=notifications,
    )
    done = work_forever(settings, most=_ALL_THAT_WAIT if until_done else None)
    tell(as_json, {"jobs": done}, f"{done} jobs done; none waits")


#: Stops when none waits.
_ALL_THAT_WAIT = 1_000_000
