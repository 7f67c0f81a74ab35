"""Serving: the web server in this process, workers in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from typing import Any

from fastapi import FastAPI

from neva.web.settings import WebSettings
from neva.web.worker import work_forever

__all__ = ["serve_forever", "start_workers"]


def _work(settings: WebSettings, parent: int) -> None:
    """Be a worker until the server is gone."""
    import signal

    # The server is told by the terminal and ends; a worker notices that it has no parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    work_forever(settings, parent=parent)


def start_workers(settings: WebSettings, count: int) -> list[Any]:
    """Start workers: processes made anew, that end with this one."""
    spawn = multiprocessing.get_context("spawn")
    # A clock that a test has put in cannot be sent to another process.
    plain = replace(settings, now=WebSettings(settings.hospital).now)
    made = []
    for _ in range(count):
        process = spawn.Process(target=_work, args=(plain, os.getpid()), daemon=True)
        process.start()
        made.append(process)
    return made


def serve_forever(application: FastAPI, settings: WebSettings, *, workers: int = 1) -> None:
    """Serve until stopped; workers stop with it.

    Parameters
    ----------
    application : FastAPI
    settings : WebSettings
    workers : int
        Processes for long work.
    """
    import uvicorn

    started = start_workers(settings, workers)
    try:
        # Pseudonyms stand in some addresses: no access log.
        uvicorn.run(
            application,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    finally:
        for process in started:
            process.terminate()
            process.join(timeout=5)
