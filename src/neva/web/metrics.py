"""Counts for Prometheus: requests by route, never by address; nothing of a patient."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neva.feeds.status import feed_folder, feed_names, read_status
from neva.web.security.access import CHANGES
from neva.web.server import Server

__all__ = ["Metrics"]

#: What is not put into a label as it stands.
_LABEL: Final = re.compile(r"[^\w.-]")

#: Upper ends of the histogram, seconds.
_ENDS: Final = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """Counts requests by method, route and status."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: dict[str, list[float]] = {}

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began, status, head = time.perf_counter(), 500, 0.0

            async def noted(message: Message) -> None:
                nonlocal status, head
                if message["type"] == "http.response.start":
                    status, head = message["status"], time.perf_counter()
                await send(message)

            try:
                await app(scope, receive, noted)
            finally:
                # A page's stream of changes is open for hours: until its head, then.
                is_stream = head and scope["path"].endswith(CHANGES)
                self._note(scope, status, (head if is_stream else time.perf_counter()) - began)

        return counted

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # The template, not the address: a pseudonym stands in some of these.
        route: Any = scope.get("route")
        path = getattr(route, "path", "other")
        with self._lock:
            self._counts[scope["method"], path, status] += 1
            held = self._seconds.setdefault(path, [0.0] * (len(_ENDS) + 2))
            for place, end in enumerate(_ENDS):
                held[place] += seconds <= end
            held[-2] += 1
            held[-1] += seconds

    def text(self) -> str:
        """Return the counts in the text format of Prometheus."""
        with self._lock:
            counts = dict(self._counts)
            seconds = {path: list(held) for path, held in self._seconds.items()}
        lines = ["# TYPE neva_requests_total counter"]
        for (method, path, status), count in sorted(counts.items()):
            lines.append(
                f'neva_requests_total{{method="{method}",route="{path}",status="{status}"}} {count}'
            )
        lines.append("# TYPE neva_request_seconds histogram")
        for path, held in sorted(seconds.items()):
            for end, within in zip(_ENDS, held, strict=False):
                lines.append(
                    f'neva_request_seconds_bucket{{route="{path}",le="{end}"}} {within:.0f}'
                )
            lines.append(f'neva_request_seconds_bucket{{route="{path}",le="+Inf"}} {held[-2]:.0f}')
            lines.append(f'neva_request_seconds_count{{route="{path}"}} {held[-2]:.0f}')
            lines.append(f'neva_request_seconds_sum{{route="{path}"}} {held[-1]:.6f}')
        manifest = self._server.hospital.manifest()
        lines.append("# TYPE neva_hospital_version gauge")
        lines.append(f"neva_hospital_version {manifest.version}")
        age = self._server.feed()["age_hours"]
        if age is not None:
            lines.append("# TYPE neva_data_age_seconds gauge")
            lines.append(f"neva_data_age_seconds {3600 * age:.0f}")
        lines.append("# HELP neva_pages_followed Open pages that are told of changes.")
        lines.append("# TYPE neva_pages_followed gauge")
        lines.append(f"neva_pages_followed {len(self._server.changes)}")
        work = self._server.worker()
        lines.append("# HELP neva_worker_silent 1: no worker has been heard of for a minute.")
        lines.append("# TYPE neva_worker_silent gauge")
        lines.append(f"neva_worker_silent {work['is_silent']:d}")
        if work["age_hours"] is not None:
            lines.append("# TYPE neva_worker_heard_seconds gauge")
            lines.append(f"neva_worker_heard_seconds {3600 * work['age_hours']:.0f}")
        lines += self._feed_lines()
        counted = self._server.state.notifications.counts()
        if counted:
            lines.append("# HELP neva_notifications Of tasks, in 90 days.")
            lines.append("# TYPE neva_notifications gauge")
        lines += [
            f'neva_notifications{{channel="{channel}",state="{state}"}} {count}'
            for channel, states in sorted(counted.items())
            for state, count in states.items()
        ]
        return "\n".join(lines) + "\n"

    def _feed_lines(self) -> list[str]:
        """Return the figures of live feeds, as they last wrote them."""
        hospital = self._server.hospital.path
        found: dict[str, list[str]] = defaultdict(list)
        for name in feed_names(hospital):
            folder, label = feed_folder(hospital, name), f'{{feed="{name}"}}'
            status, listener = (
                read_status(folder, file) for file in ("status.json", "listener.json")
            )
            found["applied_total"].append(f"{label} {int(status.get('position', 0))}")
            figures = listener.get("figures") or status.get("figures", {})
            for reason, count in figures.get("refused", {}).items():
                place = f'{{feed="{name}",reason="{reason}"}}'
                found["refused_total"].append(f"{place} {int(count)}")
        for one in self._server.feeds():
            label = f'{{feed="{_LABEL.sub("_", one.name)}"}}'
            found["silent"].append(f"{label} {one.is_silent:d}")
            found["backlog"].append(f"{label} {one.backlog}")
            if one.age is not None:
                found["age_seconds"].append(f"{label} {one.age.total_seconds():.0f}")
        lines = []
        for kind, rows in found.items():
            what = "counter" if kind.endswith("_total") else "gauge"
            if kind == "silent":
                lines.append("# HELP neva_feed_silent 1: a feed should have been heard of since.")
            lines.append(f"# TYPE neva_feed_{kind} {what}")
            lines += [f"neva_feed_{kind}{row}" for row in rows]
        return lines
