"""``neva serve``: the web door."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neva.cli.console import HospitalPath, Json, tell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command to ``neva``."""
    app.command()(serve)


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
    fhir_server: Annotated[
        list[str] | None,
        typer.Option("--fhir-server", metavar="URL", help="from where records may be fetched"),
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option("--origin", metavar="URL", help="pages that may call")
    ] = None,
    programme: Annotated[
        list[str] | None, typer.Option("--programme", metavar="NAME", help="whose rules")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", metavar="FOLDER", help="a saved model that may be asked"),
    ] = None,
    assigner: Annotated[
        str, typer.Option(help="who gave the ids that clients send; as in the import")
    ] = "fhir",
    check: Annotated[
        bool, typer.Option("--check", help="open everything, say what would be served, and stop")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve CDS Hooks 2.0 for a hospital. Without --clients only to this machine.

    Example: neva serve hospital --check
    """
    from neva.definitions.programme import programme_names
    from neva.web.application import create_application
    from neva.web.settings import WebSettings

    settings = WebSettings(
        hospital=hospital,
        programmes=tuple(programme or programme_names()),
        models=tuple(model or ()),
        host=host,
        port=port,
        base_url=base_url or f"http://{host}:{port}",
        clients=clients,
        fhir_servers=tuple(fhir_server or ()),
        origins=tuple(origin or ()),
        assigner=assigner,
    )
    application = create_application(settings)
    services = application.state.bedside.services()
    live = sum(state == "live" for _, state in services.rules)
    if check:
        text = (
            f"{len(services.by_id)} services, {live} live and {len(services.rules) - live} silent "
            f"rules at {settings.base_url}/cds-services"
        )
        content = {
            "address": settings.base_url,
            "services": sorted(services.by_id),
            "live": live,
            "silent": len(services.rules) - live,
        }
        tell(as_json, content, text)
        application.state.bedside.close()
        return
    import uvicorn

    # Patients' ids stand in no path of ours; the log still has no queries and no bodies.
    uvicorn.run(application, host=host, port=port, log_level="warning", access_log=False)
