"""Pages that everybody looks at are made one by one, and nobody waits for ever."""

import asyncio

import pytest

from neva.web import turns
from neva.web.turns import Turns


def asking(app, path, *, method="GET", send=None):
    async def receive():
        return {"type": "http.request"}

    async def nowhere(message):
        pass

    return app({"type": "http", "method": method, "path": path}, receive, send or nowhere)


class Application:
    """Counts how many are inside at a time before they answer."""

    def __init__(self, *, wait=0.001, fails=False):
        self.inside = self.most = 0
        self.order = []
        self.wait, self.fails = wait, fails

    async def __call__(self, scope, receive, send):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(scope["path"])
        await asyncio.sleep(self.wait)
        self.inside -= 1
        if self.fails:
            raise ZeroDivisionError
        await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize("path", ["/now", "/now.json", "/wallboard", "/work-list.csv"])
def test_such_a_page_is_made_one_by_one(path):
    inner = Application()

    async def many():
        app = Turns(inner)
        await asyncio.gather(*(asking(app, path) for _ in range(30)))

    asyncio.run(many())
    assert len(inner.order) == 30
    assert inner.most == 1


@pytest.mark.parametrize(
    ("path", "method"),
    [("/now", "POST"), ("/pathways", "GET"), ("/cds-services/x", "GET"), ("/health", "GET")],
)
def test_others_do_not_wait(path, method):
    inner = Application()

    async def many():
        app = Turns(inner)
        await asyncio.gather(*(asking(app, path, method=method) for _ in range(30)))

    asyncio.run(many())
    assert inner.most == 30


def test_one_that_waited_long_goes_ahead(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST_SECONDS", 0.05)
    inner = Application(wait=0.3)

    async def two():
        app = Turns(inner)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(asking(app, "/now"), asking(app, "/now"))
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(two()) < 0.55
    assert inner.most == 2


def test_a_page_that_fails_gives_its_turn_back():
    inner = Application(fails=True)

    async def many():
        app = Turns(inner)
        return await asyncio.gather(
            *(asking(app, "/now") for _ in range(5)), return_exceptions=True
        )

    assert all(isinstance(one, ZeroDivisionError) for one in asyncio.run(many()))
    assert len(inner.order) == 5


def test_a_browser_that_reads_slowly_holds_up_nobody():
    inner = Application()

    async def slow(message):
        await asyncio.sleep(5)

    async def two():
        app = Turns(inner)
        slowly = asyncio.create_task(asking(app, "/now", send=slow))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(1):
            await asking(app, "/now")
        slowly.cancel()

    asyncio.run(two())


def test_one_application_serves_several_loops():
    app = Turns(Application())

    async def many():
        await asyncio.gather(*(asking(app, "/now") for _ in range(5)))

    for _ in range(3):
        asyncio.run(many())
