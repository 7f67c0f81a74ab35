"""A FHIR R4 server for tests: searches by change, pages by links, histories, a token, failures."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx

FHIR_JSON = "application/fhir+json"


@dataclass
class Standin:
    """What the server holds, and how it behaves.

    Pages are places in what is found at the moment of the request: a resource that changes
    meanwhile goes to the end, and those behind it move up.
    """

    port: int = 0
    sorts: bool = True
    history: bool = True
    resources: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    deleted: list[tuple[str, str, datetime]] = field(default_factory=list)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None
    next_base: str | None = None
    token: str | None = None
    tokens_given: int = 0
    versions: int = 0
    subscriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: list[tuple[str, str]] = field(default_factory=list)
    status_given: str = "active"
    may_subscribe: bool = True
    refuses: bool = False
    smart: dict[str, Any] | None = None
    judge: Callable[[dict[str, str]], tuple[int, dict[str, Any]]] | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    def put(self, at: datetime, **resource: Any) -> None:
        self.versions += 1
        key = (resource["resourceType"], resource["id"])
        meta = {
            "versionId": str(self.versions),
            "lastUpdated": at.isoformat(timespec="milliseconds"),
        }
        self.resources.pop(key, None)
        self.resources[key] = {**resource, "meta": meta}

    def delete(self, kind: str, given: str, at: datetime) -> None:
        del self.resources[kind, given]
        self.deleted.append((kind, given, at))

    # ---------------------------------------------------------------- answers

    def answer(self, path: str, query: str) -> dict[str, Any]:
        if path == "metadata":
            codes = ["read", "search-type", *(["history-type"] if self.history else [])]
            kinds = {kind for kind, _ in self.resources} | {"Patient", "Observation"}
            resource = [
                {"type": kind, "interaction": [{"code": one} for one in codes]} for kind in kinds
            ]
            return {"resourceType": "CapabilityStatement", "rest": [{"resource": resource}]}
        wanted = parse_qs(query)
        if path == "Subscription":
            held = [
                {"resource": one, "search": {"mode": "match"}}
                for one in self.subscriptions.values()
                if one["channel"]["endpoint"] == wanted["url"][0]
            ]
            return {"resourceType": "Bundle", "type": "searchset", "entry": held}
        kind, _, history = path.partition("/")
        found = self._history(kind, wanted) if history else self._search(kind, wanted)
        count, first = int(wanted["_count"][0]), int(wanted.get("_offset", ["0"])[0])
        links = [{"relation": "self", "url": f"{self.base}/{path}?{self._applied(query)}"}]
        if first + count < len(found):
            pairs = [one for one in parse_qsl(query) if one[0] != "_offset"]
            onwards = urlencode([*pairs, ("_offset", str(first + count))])
            links.append(
                {"relation": "next", "url": f"{self.next_base or self.base}/{path}?{onwards}"}
            )
        page = found[first : first + count]
        page += self._included(page, wanted.get("_include", []))
        kind = "history" if history else "searchset"
        return {"resourceType": "Bundle", "type": kind, "link": links, "entry": page}

    def _applied(self, query: str) -> str:
        return urlencode([one for one in parse_qsl(query) if self.sorts or one[0] != "_sort"])

    def _search(self, kind: str, wanted: dict[str, list[str]]) -> list[dict[str, Any]]:
        since = wanted.get("_lastUpdated", [""])[0].removeprefix("ge")
        found = [
            one
            for (of, _), one in self.resources.items()
            if of == kind
            and ("_id" not in wanted or one["id"] in wanted["_id"][0].split(","))
            and (not since or _time(one["meta"]["lastUpdated"]) >= _time(since))
        ]
        found.sort(key=lambda one: _time(one["meta"]["lastUpdated"]), reverse=not self.sorts)
        return [
            {"fullUrl": f"{self.base}/{kind}/{one['id']}", "resource": one,
             "search": {"mode": "match"}}
            for one in found
        ]  # fmt: skip

    def _included(self, page: list[dict[str, Any]], wanted: list[str]) -> list[dict[str, Any]]:
        names = {"medication": "medicationReference", "encounter": "encounter"}
        found = []
        for one in wanted:
            name = names.get(one.partition(":")[2])
            for entry in page:
                reference = entry.get("resource", {}).get(name, {}).get("reference", "")
                resource = self.resources.get(tuple(reference.split("/")))
                if resource is not None:
                    found.append({"resource": resource, "search": {"mode": "include"}})
        return found

    def _history(self, kind: str, wanted: dict[str, list[str]]) -> list[dict[str, Any]]:
        since = wanted.get("_since", [""])[0]
        return [
            {"request": {"method": "DELETE", "url": f"{kind}/{given}"},
             "response": {"status": "204", "lastModified": at.isoformat()}}
            for of, given, at in reversed(self.deleted)
            if of == kind
            and (not since or at >= _time(since))
        ]  # fmt: skip

    # ---------------------------------------------------------- subscriptions

    def subscribe(self, method: str, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        given = path.partition("/")[2] if method == "PUT" else str(len(self.subscriptions) + 1)
        self.written.append((method, path))
        kept = {**wanted, "id": given, "status": self.status_given}
        self.subscriptions[given] = kept
        return kept

    def bring(self, endpoint: str, secret: str, **key: str) -> httpx.Response:
        """Send a version by itself, as a subscription with payload has it."""
        resource = self.resources[key["kind"], key["given"]]
        return httpx.put(
            f"{endpoint}/{key['kind']}/{key['given']}",
            content=json.dumps(resource),
            headers={"Authorization": f"Bearer {secret}", "Content-Type": FHIR_JSON},
            timeout=60,
        )


def _time(written: str) -> datetime:
    return datetime.fromisoformat(written)


@contextmanager
def standin() -> Iterator[Standin]:
    made = Standin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            made.asked.append(self.path)
            if address.path.endswith("/.well-known/smart-configuration"):
                status = 404 if made.smart is None else 200
                self._send(status, {}, json.dumps(made.smart).encode())
                return
            if made.failures:
                self._send(*made.failures.pop(0), b"")
                return
            given = self.headers.get("Authorization")
            if made.refuses or (made.token and given != f"Bearer {made.token}"):
                self._send(401, {}, b"")
                return
            made.before(self.path)
            path = address.path.removeprefix("/fhir/")
            if path.startswith("Subscription/"):
                held = made.subscriptions.get(path.partition("/")[2])
                self._send(404 if held is None else 200, {}, json.dumps(held).encode())
                return
            found = made.answer(path, address.query)
            self._send(200, {"Content-Type": "application/fhir+json"}, json.dumps(found).encode())

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            path = urlsplit(self.path).path.removeprefix("/fhir/")
            if path.startswith("Subscription"):
                status = (200 if self.command == "PUT" else 201) if made.may_subscribe else 403
                kept = {}
                if made.may_subscribe:
                    kept = made.subscribe(self.command, path, json.loads(content))
                self._send(status, {"Content-Type": FHIR_JSON}, json.dumps(kept).encode())
                return
            if made.judge is not None:
                status, given = made.judge(dict(parse_qsl(content.decode())))
                made.tokens_given += status == 200
                made.token = given.get("access_token", made.token)
                self._send(status, {"Content-Type": "application/json"}, json.dumps(given).encode())
                return
            made.tokens_given += 1
            made.token = f"token-{made.tokens_given}"
            given = {"access_token": made.token, "token_type": "Bearer", "expires_in": 3600}
            self._send(200, {"Content-Type": "application/json"}, json.dumps(given).encode())

        do_PUT = do_POST  # noqa: N815

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
