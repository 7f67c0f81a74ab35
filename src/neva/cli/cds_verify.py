"""``neva cds-verify``: check a CDS service against CDS Hooks 2.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neva.cli.console import Json, tell
from neva.errors import BadInputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from neva.cds.conformance.requests import Signer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command("cds-verify")(cds_verify)


def _prefetch(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"{path}: no such file; found nothing there; check the path"
        raise NotFoundError(message) from None
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        message = (
            f"{path}: not a JSON object; found other content; write the data by prefetch key, or "
            "by service id and prefetch key"
        )
        raise BadInputError(message)
    return content


def _signer(key: Path | None, kid: str | None, issuer: str | None) -> Signer | None:
    from neva.cds.conformance.requests import read_signer

    if key is None and kid is None and issuer is None:
        return None
    if key is None or kid is None or issuer is None:
        message = (
            "--key, --kid, --issuer: a token needs all three; found only some; give the others"
        )
        raise UsageError(message)
    return read_signer(key, issuer=issuer, kid=kid)


def cds_verify(
    url: Annotated[str, typer.Argument(metavar="URL", help="base URL of the service")],
    prefetch: Annotated[
        Path | None, typer.Option(help="JSON file with data by prefetch key, to get cards")
    ] = None,
    patient: Annotated[
        str, typer.Option(metavar="ID", help="FHIR id of the patient in the calls")
    ] = "neva-check-patient",
    key: Annotated[
        Path | None, typer.Option(help="private key (PEM or JWK) that signs the calls")
    ] = None,
    kid: Annotated[str | None, typer.Option(help="id of the key, as the service knows it")] = None,
    issuer: Annotated[
        str | None, typer.Option(help="issuer of the tokens, as the service knows it")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="certificate authority (PEM) of an https service")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML into this file")] = None,
    as_json: Json = False,
) -> None:
    """Check a CDS Hooks 2.0 service; exit code 3 if it breaks a SHALL.

    Made-up requests and feedback are sent: check a test installation.

    Example: neva cds-verify http://127.0.0.1:8321
    """
    import ssl

    import httpx

    from neva.cds.conformance.verify import TIMEOUT_SECONDS, verify_service

    signer = _signer(key, kid, issuer)
    data = _prefetch(prefetch)
    if junit is not None and not junit.resolve().parent.is_dir():
        message = f"{junit}: its folder is absent; found nothing there; check the path"
        raise NotFoundError(message)
    try:
        trust = ssl.create_default_context(cafile=str(certificate) if certificate else None)
    except OSError:
        message = f"{certificate}: not a certificate; found no PEM file; check the path"
        raise BadInputError(message) from None
    # No proxy of the environment and no redirect: nothing but the URL is called.
    with httpx.Client(
        verify=trust, trust_env=False, follow_redirects=False, timeout=TIMEOUT_SECONDS
    ) as client:
        report = verify_service(url, client=client, prefetch=data, patient=patient, signer=signer)
    if junit is not None:
        report.write_junit(junit)
    tell(as_json, report.to_json(), report.to_text)
    if not report.conforms:
        raise typer.Exit(BadInputError.exit_code)
