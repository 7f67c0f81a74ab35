"""Serves a hospital with uvicorn on a port of its own choice, which it prints."""

import sys
from pathlib import Path

import uvicorn

from neva.state.settings import WebSettings
from neva.web.application import create_application


class Told(uvicorn.Server):
    """Prints its port once it listens."""

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"{self.servers[0].sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    hospital, state = sys.argv[1:]
    settings = WebSettings(hospital=Path(hospital), state=state if "://" in state else Path(state))
    application = create_application(settings)
    Told(uvicorn.Config(application, port=0, log_level="warning")).run()
