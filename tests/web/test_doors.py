"""Who comes through which door: roles, forms, sessions, hosts, units, and hostile texts."""

import csv
import html
import io
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.doors import (
    EVIL,
    FORMULA,
    NOW,
    PASSWORD,
    build,
    compute,
    csrf_of,
    doors,
    sign_in,
)

from neva.errors import ConflictError, UsageError
from neva.pathways.drawing import MAP_STYLE
from neva.state.attempts import FREE, FREE_OF_ADDRESS, LONGEST_FOR_OTHERS
from neva.state.settings import WebSettings
from neva.web.security import passwords
from neva.web.security.access import ACCESS, PUBLIC, ROLES, may
from neva.web.security.headers import POLICY
from neva.web.security.sign_in import local_path

#: For machines: they have no session.
MACHINES = ("/health", "/metrics", "/favicon.ico", "/openapi.json", "/static", "/cds-services")
#: Served only where the settings ask for it.
OPTIONAL = ("/sign-in/oidc",)
MEASURE = "/quality/covid19/steroid-when-on-oxygen"
PAGES = (
    "/now", "/wallboard", "/work-list", "/pathways", "/pathways/compare",
    "/pathways?activities_of=codes", "/quality", "/quality/covid19", MEASURE,
    f"{MEASURE}/patients", f"{MEASURE}/patients?status=met",
    f"{MEASURE}/patients?status=pending", f"{MEASURE}/patients?status=excluded", "/flow",
    "/flow/scenarios", "/decisions", "/decisions/burden",
    "/decisions/rules/covid19.steroid-on-oxygen", "/definitions", "/definitions/covid19.news2",
    "/paper", "/jobs",
)  # fmt: skip
OTHERS = ("/data", "/data/quarantine", "/data/feeds", "/audit", "/accounts")
SHEETS = ("bed-meeting", "ward-handover", "discharges", "long-stays", "downtime-census",
          "mortality-review", "board-report")  # fmt: skip


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return build(tmp_path_factory.mktemp("doors"))


@pytest.fixture(scope="module")
def served(hospital, tmp_path_factory):
    """Everything is computed; these tests change nothing that another one reads."""
    with doors(*hospital, tmp_path_factory.mktemp("state") / "state.sqlite") as made:
        made.state.accounts.put(EVIL, role="viewer", shown=EVIL, actor=EVIL, at=NOW)
        compute(made, (*PAGES, "/paper/board-report"))
        compute(made, OTHERS, "administrator")
        yield made


@pytest.fixture
def fresh(hospital, tmp_path):
    with doors(*hospital, tmp_path / "state.sqlite") as made:
        yield made


@pytest.fixture(scope="module")
def clients(served):
    return {role: served.signed_in(role) for role in (*ROLES, "alpha")}


def leaves(routes):
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from [route] if inner is None else leaves(inner.routes)


def routes_of(application):
    return {
        (method, route.path)
        for route in leaves(application.routes)
        if not route.path.startswith(MACHINES)
        for method in route.methods - {"HEAD"}
    }


def page_of(path):
    return re.sub(r"\.(json|csv)$", "", path)


def filled(path, made):
    values = {
        "subject": str(made.subjects["a1"]), "programme": "covid19", "entry": "none",
        "measure": "steroid-when-on-oxygen", "rule": "covid19.steroid-on-oxygen", "case": "none",
        "definition": "covid19.news2", "scenario": "none", "job": "none", "model": "none",
        "proposal": "none", "account": "nobody", "upload": "none", "feed": "none",
    }  # fmt: skip
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)


# ------------------------------------------------------------- roles and routes


def test_every_route_is_in_the_table_and_every_line_is_a_route(served):
    routes = routes_of(served.application)
    assert len(routes) > 60
    unknown = {(method, page_of(path)) for method, path in routes} - set(ACCESS)
    assert unknown == set(), "a route needs its line in ACCESS of security/access.py"
    absent = {one for one in set(ACCESS) - routes if not one[1].startswith(OPTIONAL)}
    assert absent == set(), "no such route: is its view called in _pages of web/application.py?"


@pytest.mark.parametrize("role", ROLES)
def test_every_role_gets_its_pages_and_no_other(served, clients, role):
    client, wrong = clients[role], []
    for method, path in sorted(routes_of(served.application)):
        if method != "GET" or ACCESS[method, page_of(path)] is PUBLIC:
            continue
        status = client.get(filled(path, served)).status_code
        is_let_in = status in {200, 303, 404}
        is_right = is_let_in if may(role, method, path) else status == 403
        if not is_right:
            wrong.append((path, status))
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_every_role_may_send_its_forms_and_no_other(fresh, role):
    client, wrong = fresh.signed_in(role), []
    token = csrf_of(client)
    for method, path in sorted(routes_of(fresh.application)):
        if method != "POST" or path == "/sign-out":
            continue
        if ACCESS[method, path] is PUBLIC:
            continue
        answer = client.post(filled(path, fresh), data={"csrf": token})
        is_right = (answer.status_code == 403) is not may(role, method, path)
        if not is_right or answer.status_code >= 500:
            wrong.append((path, answer.status_code))
    assert wrong == []
    assert client.post("/sign-out", data={"csrf": token}).status_code == 303
    assert client.get("/now").status_code == 303


def test_nobody_gets_a_page_without_signing_in(served):
    client = served.client()
    for method, path in sorted(routes_of(served.application)):
        if ACCESS[method, page_of(path)] is PUBLIC:
            continue
        answer = client.request(method, filled(path, served))
        if path.endswith((".json", ".csv")):
            assert answer.status_code == 401, path
        else:
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/sign-in?next=%2F"), path


def test_a_route_that_is_in_no_table_is_refused(served, monkeypatch):
    client = served.signed_in("administrator")
    monkeypatch.delitem(ACCESS, ("GET", "/definitions"))
    for path in ("/definitions", "/definitions.json", "/definitions.csv"):
        assert client.get(path).status_code == 403


# ------------------------------------------------------------------------ forms


def test_a_form_without_the_sessions_own_token_or_from_elsewhere_is_refused(fresh):
    client, other = fresh.signed_in("administrator"), fresh.signed_in("administrator")
    token, foreign = csrf_of(client), csrf_of(other)
    assert token != foreign
    base = fresh.settings.base_url
    posts = [path for method, path in sorted(routes_of(fresh.application)) if method == "POST"]
    assert len(posts) > 10
    mine = [path for path in posts if may("administrator", "POST", path)]
    for path in mine:
        url = filled(path, fresh)
        for data, headers in (
            ({"name": "x"}, {}),
            ({"csrf": ""}, {}),
            ({"csrf": foreign}, {}),
            ({"csrf": token}, {"origin": "https://evil.example"}),
            ({"csrf": token}, {"origin": "null"}),
            ({"csrf": token}, {"origin": base, "sec-fetch-site": "cross-site"}),
            ({"csrf": token}, {"origin": base, "sec-fetch-site": "same-site"}),
        ):
            # A form with a file; its fields come before it, as on the page.
            more = {"files": {"file": ("a.csv", b"a;b\n1;2\n")}} if path == "/data/upload" else {}
            answer = client.post(url, data=data, headers=headers, **more)
            assert answer.status_code == 403, (path, data)
    assert client.get("/now").status_code == 200


def test_signing_in_from_a_page_of_somebody_else_is_refused(served):
    headers = {"origin": "https://evil.example"}
    form = {"name": "viewer", "password": PASSWORD}
    assert served.client().post("/sign-in", data=form, headers=headers).status_code == 403


def test_forms_of_another_kind_or_size_are_refused(fresh):
    client = fresh.client()
    for more in (
        {"json": {"name": "viewer"}},
        {"files": {"name": b"viewer"}},
        {"data": {"name": "x" * 300_000}},
        {"data": {f"f{number}": "x" for number in range(300)}},
        {"content": b"\xff=1", "headers": {"content-type": "application/x-www-form-urlencoded"}},
    ):
        assert client.post("/sign-in", **more).status_code in {400, 401}


# --------------------------------------------------------------------- sessions


def test_signing_in_begins_a_new_session_and_ends_the_one_before(fresh):
    client = fresh.client(cookies={"neva_session": "chosen by somebody"})
    assert sign_in(client, "viewer").status_code == 303
    first = client.cookies.get("neva_session", path="/", domain="127.0.0.1")
    assert first
    assert first != "chosen by somebody"
    again = fresh.client(cookies={"neva_session": first})
    assert sign_in(again, "viewer", csrf=csrf_of(again)).status_code == 303
    assert fresh.client(cookies={"neva_session": first}).get("/now").status_code == 303


@pytest.mark.parametrize(
    ("base_url", "name"),
    [("http://127.0.0.1:8321", "neva_session"), ("https://neva.example", "__Host-neva_session")],
)
def test_cookies_have_their_flags(hospital, tmp_path, base_url, name):
    with doors(*hospital, tmp_path / "state.sqlite", base_url=base_url) as made:
        client = made.client()
        set_ = [sign_in(client, "viewer").headers.get_list("set-cookie")[0]]
        token = csrf_of(client)
        set_.append(client.post("/language", data={"language": "ru", "csrf": token}).headers[
            "set-cookie"])  # fmt: skip
        set_.append(client.post("/sign-out", data={"csrf": token}).headers["set-cookie"])
        assert set_[0].startswith(f"{name}=")
        assert set_[2].startswith(f"{name}=")
        for one in set_:
            flags = {flag.strip().lower() for flag in one.split(";")[1:]}
            assert {"httponly", "samesite=lax", "path=/"} <= flags
            assert ("secure" in flags) is base_url.startswith("https")
            assert not any(flag.startswith("domain") for flag in flags)
        device = sign_in(made.client(), "viewer").headers.get_list("set-cookie")[1].lower()
        assert device.startswith(name.replace("session", "device").lower() + "=")
        flags = {flag.strip() for flag in device.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/"} <= flags
        assert ("secure" in flags) is base_url.startswith("https")
        secure = client.get("/sign-in").headers.get("strict-transport-security")
        assert (secure is not None) is base_url.startswith("https")


@pytest.mark.parametrize(
    "change",
    [
        {"disabled": True},
        {"password": "another long sentence"},
    ],
)
def test_a_change_of_an_account_ends_its_sessions_at_once(fresh, change):
    client = fresh.signed_in("viewer")
    assert client.get("/now").status_code == 200
    fresh.state.accounts.change("viewer", **change, actor="root", at=NOW)
    assert client.get("/now").status_code == 303
    assert sign_in(fresh.client(), "viewer").status_code == 401


def test_another_role_acts_on_open_sessions(fresh):
    client = fresh.signed_in("clinician")
    assert client.get("/work-list").status_code == 200
    fresh.state.accounts.change("clinician", role="viewer", actor="root", at=NOW)
    assert client.get("/work-list").status_code == 403


def test_a_session_ends_when_idle_and_after_a_shift(fresh):
    client = fresh.signed_in("viewer")
    fresh.later(minutes=29)
    assert client.get("/definitions").status_code == 200
    fresh.later(minutes=30)
    assert client.get("/definitions").status_code == 303
    client = fresh.signed_in("viewer")
    for _ in range(24 * 60 // 29):
        fresh.later(minutes=29)
        last = client.get("/definitions").status_code
    assert last == 303


def test_a_page_that_loads_itself_anew_keeps_no_session_alive(fresh):
    client = fresh.signed_in("viewer")
    for _ in range(2):
        fresh.later(minutes=14)
        assert client.get("/wallboard", params={"refresh": "1"}).status_code == 200
    fresh.later(minutes=3)
    answer = client.get("/wallboard", params={"refresh": "1"}, follow_redirects=False)
    assert answer.status_code == 303


@pytest.mark.parametrize(
    "where",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "javascript:alert(1)",
     "/\t/evil.example", "/\n/evil.example", "evil.example", "", " //evil.example", "/%0d\\evil",
     "/a\r\nSet-Cookie: x=1"],
)  # fmt: skip
def test_after_signing_in_only_pages_of_this_host_are_opened(served, where):
    assert local_path(where) == "/now" or "%0d" in where
    answer = sign_in(served.client(), "viewer", next=where)
    assert answer.headers["location"] == "/now"
    page = served.client().get("/sign-in", params={"next": where})
    assert 'name="next" value="/now"' in page.text


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "[", "a@127.0.0.1x"]
)
def test_another_host_is_refused(served, host):
    answer = served.client().get("/sign-in", headers={"host": host})
    assert answer.status_code == 421
    assert answer.headers["x-content-type-options"] == "nosniff"


# -------------------------------------------------------------------- passwords


def come_back(made, answer):
    """What a person does who is asked to wait."""
    assert answer.status_code == 429
    wait = int(answer.headers["retry-after"])
    assert f"Wait {wait} second" in answer.text
    made.later(seconds=wait)
    return wait


def test_who_guesses_at_a_name_is_slowed_down_even_with_the_right_password(fresh):
    client = fresh.client()
    for _ in range(FREE):
        assert sign_in(client, "viewer", "wrong").status_code == 401
    assert sign_in(client, "VIEWER").status_code == 429
    come_back(fresh, sign_in(client, "viewer"))
    assert sign_in(client, "viewer").status_code == 303


def test_fifty_two_failures_under_invented_names_lock_nobody_out(fresh):
    known = fresh.signed_in("analyst")
    page = fresh.signed_in("administrator")
    attacker = fresh.client()
    for number in range(FREE_OF_ADDRESS + 2):
        sign_in(attacker, f"nobody{number}", "wrong")
    # A stranger at the same address waits a little, once; meanwhile it goes on.
    client = fresh.client()
    wait = come_back(fresh, sign_in(client, "viewer"))
    assert wait <= LONGEST_FOR_OTHERS.total_seconds()
    for number in range(52):
        sign_in(attacker, f"somebody{number}", "wrong")
    assert sign_in(client, "viewer").status_code == 303
    # A known device and whoever is signed in notice nothing.
    assert sign_in(known, "analyst", csrf=csrf_of(known)).status_code == 303
    assert page.get("/accounts").status_code == 200


def test_a_hundred_failures_at_a_known_name_do_not_reach_its_owner(fresh):
    owner = fresh.signed_in("viewer")
    assert owner.post("/sign-out", data={"csrf": csrf_of(owner)}).status_code == 303
    attacker = fresh.client()
    seen = [sign_in(attacker, "viewer", "wrong").status_code for _ in range(100)]
    assert seen == [401] * FREE + [429] * (100 - FREE)
    assert sign_in(owner, "viewer").status_code == 303
    # Nor at an address at which nobody guesses.
    elsewhere = fresh.client(client=("10.9.8.7", 1))
    assert sign_in(elsewhere, "viewer").status_code == 303


def test_a_known_device_is_known_for_its_account_until_its_password_changes(fresh):
    device = fresh.signed_in("viewer").cookies.get("neva_device")
    assert fresh.state.devices.knows(device, "viewer", at=NOW)

    def at_device(account, password=PASSWORD):
        return sign_in(fresh.client(cookies={"neva_device": device}), account, password)

    for _ in range(FREE):
        sign_in(fresh.client(), "viewer", "wrong")
        sign_in(fresh.client(), "clinician", "wrong")
    assert at_device("clinician").status_code == 429
    assert at_device("viewer").status_code == 303
    other = "another long sentence"
    fresh.state.accounts.change("viewer", password=other, actor="root", at=NOW)
    for _ in range(FREE):
        sign_in(fresh.client(), "viewer", "wrong")
    assert at_device("viewer", other).status_code == 429


def test_guesses_at_a_known_device_are_counted_too(fresh):
    client = fresh.signed_in("viewer")
    client.post("/sign-out", data={"csrf": csrf_of(client)})
    seen = [sign_in(client, "viewer", "wrong").status_code for _ in range(20)]
    assert seen == [401] * FREE + [429] * (20 - FREE)


def test_guesses_of_an_hour_at_one_name_are_bounded(fresh):
    client, until, guesses = fresh.client(), fresh.clock[0] + timedelta(hours=1), 0
    while fresh.clock[0] < until:
        answer = sign_in(client, "viewer", "wrong")
        if answer.status_code == 401:
            guesses += 1
        else:
            come_back(fresh, answer)
    assert guesses <= 40


def test_many_guesses_at_one_moment_are_no_more_guesses(fresh):
    def guess(_):
        return sign_in(fresh.client(), "viewer", "wrong").status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(guess, range(24))).count(401) == FREE


def test_while_passwords_are_checked_pages_are_answered_and_few_wait(fresh, monkeypatch):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_):
        begun.release()
        go_on.wait(30)

    monkeypatch.setattr(fresh.application.state.server.state.accounts, "verify", slow)
    monkeypatch.setattr(passwords, "MOST_WAITING", 3)
    with fresh.client() as client, ThreadPoolExecutor(60) as pool:
        first = [pool.submit(sign_in, client, f"n{one}", "x") for one in range(passwords.AT_ONCE)]
        for _ in first:
            assert begun.acquire(timeout=30)
        more = [pool.submit(sign_in, client, f"m{one}", "x") for one in range(50)]
        full = next(as_completed(more, timeout=30)).result()
        assert (full.status_code, full.headers["retry-after"]) == (503, "2")
        assert client.get("/sign-in").status_code == 200
        go_on.set()
        assert {one.result().status_code for one in more} <= {401, 429, 503}


PROXY, OUTSIDE = ("127.0.0.1", 1), ("10.0.0.66", 1)


@pytest.mark.parametrize(
    ("trusted", "peer", "sent", "is_slowed"),
    [
        # Nobody is trusted: what is sent changes nothing.
        ((), PROXY, "10.0.0.{}", True),
        # The peer is no proxy.
        (("127.0.0.0/8",), OUTSIDE, "10.0.0.{}", True),
        # Counted from the right: what a client wrote before it is not believed.
        (("127.0.0.1",), PROXY, "10.0.0.{}, 10.0.0.99", True),
        (("127.0.0.1", "10.0.0.99"), PROXY, "10.1.1.{}, 10.0.0.98, 10.0.0.99", True),
        # What the proxy says itself is.
        (("127.0.0.1",), PROXY, "10.0.0.{}", False),
        # One subscriber of IPv6 has very many addresses.
        (("127.0.0.1",), PROXY, "2001:db8::{}", True),
        (("127.0.0.1",), PROXY, "2001:db8:0:{}::1", False),
    ],
)
def test_only_a_trusted_proxy_says_where_somebody_is(
    hospital, tmp_path, trusted, peer, sent, is_slowed
):
    settings = {"trusted_proxies": trusted}
    with doors(*hospital, tmp_path / "state.sqlite", **settings) as made:
        seen = [
            sign_in(
                made.client(client=peer, headers={"x-forwarded-for": sent.format(number)}),
                "viewer", "wrong",
            ).status_code
            for number in range(1, FREE + 3)
        ]  # fmt: skip
        assert (429 in seen) is is_slowed


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.0/33", "0.0.0.0/0", "::/0", ""])
def test_a_trusted_proxy_is_named_by_its_address(text):
    with pytest.raises(UsageError, match="trusted proxy"):
        WebSettings(hospital=Path("x"), trusted_proxies=(text,))


def test_an_unknown_name_and_a_wrong_password_look_the_same(fresh):
    client = fresh.client()
    assert sign_in(client, "viewer", "wrong").text == sign_in(client, "nobody", "wrong").text


def test_no_secret_stands_in_logs_or_in_the_database(hospital, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with doors(*hospital, tmp_path / "state.sqlite") as made:
        client = made.signed_in("viewer")
        sign_in(made.client(), "a password in the wrong field", "a wrong password typed here")
        token, csrf = next(iter(client.cookies.jar)).value, csrf_of(client)
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("state.sqlite*"))
        secrets = (token, csrf, PASSWORD, "a password in the wrong field",
                   "a wrong password typed here")  # fmt: skip
        for secret in secrets:
            assert secret.encode() not in kept
            # The client of the tests logs addresses; none carries a secret either.
            assert secret not in caplog.text


def test_the_last_administrator_can_neither_be_disabled_nor_demoted_from_the_page(fresh):
    client = fresh.signed_in("administrator")
    token = csrf_of(client)
    for form in ({"role": "administrator", "disabled": "yes"}, {"role": "viewer"}):
        answer = client.post("/accounts/administrator", data={"csrf": token} | form)
        assert answer.status_code == 409
    assert client.get("/accounts").status_code == 200


def test_an_account_that_sees_no_unit_does_not_see_all_after_a_form(fresh):
    fresh.state.accounts.put("none", role="clinician", units=(), actor="root", at=NOW)
    client = fresh.signed_in("administrator")
    form = {"csrf": csrf_of(client), "role": "clinician", "units": "", "shown": "None"}
    assert client.post("/accounts/none", data=form).status_code == 303
    assert fresh.state.accounts.get("none").units == ()


# ------------------------------------------------------------------------ units


def hidden_from_alpha(made):
    found = [str(made.subjects[name]) for name in ("b1", "b2", "g1")]
    return [*found, "Name-b1", "Name-b2", "Name-g1"]


def test_an_account_of_a_unit_sees_nobody_of_another_anywhere(served, clients):
    client, everybody = clients["alpha"], clients["clinician"]
    seen = ""
    for page in (*PAGES, *(f"/paper/{sheet}" for sheet in SHEETS)):
        for twin in ("", ".json") if "?" not in page and "/paper/" not in page else ("",):
            text = client.get(page + twin, headers={"accept": "text/html"}).text
            for secret in hidden_from_alpha(served):
                assert secret not in text, (page + twin, secret)
            seen += everybody.get(page + twin).text
    # The test sees something: others do see them.
    for secret in (str(served.subjects["b1"]), "Name-b1", "Name-b2", "Name-g1"):
        assert secret in seen, secret


def test_an_account_of_a_unit_sees_its_own(served, clients):
    client = clients["alpha"]
    for page in ("/work-list", "/paper/ward-handover", "/paper/downtime-census"):
        assert "Name-a1" in client.get(page).text
    assert client.get(f"/patient/{served.subjects['a1']}").status_code == 200


def test_an_account_of_a_unit_opens_nothing_of_another(served, clients):
    client, other = clients["alpha"], str(served.subjects["b1"])
    token = csrf_of(client)
    for path in (f"/patient/{other}", f"/patient/{other}.json", "/paper/ward-handover?unit=beta",
                 "/paper/bed-meeting", "/paper/mortality-review"):  # fmt: skip
        assert client.get(path).status_code == 403, path
    form = {"csrf": token, "purpose": "treatment"}
    assert client.post(f"/patient/{other}/purpose", data=form).status_code in {400, 403}
    cases = clients["analyst"].get("/pathways.json?activities_of=units").json()["tables"]
    for row in cases.get("cases", []):
        answer = client.get(f"/pathways/case/{row['case']}")
        assert answer.status_code in {200, 403}
    board = clients["clinician"].get("/work-list.json").json()["data"]["patients"]
    stays = {one["label"].split(",")[0]: one["stay"] for one in board}
    refused = {"csrf": token, "rule": "r", "stay": stays["Name-b1"],
               "begun_after": "2026-01-01T00:00:00Z", "kind": "medically-fit"}  # fmt: skip
    assert client.post("/work-list/acknowledge", data=refused).status_code == 403
    assert client.post("/work-list/entries", data=refused).status_code == 403


def test_an_account_of_a_unit_that_there_is_not_is_not_made(fresh):
    client = fresh.signed_in("administrator")
    form = {"csrf": csrf_of(client), "name": "new", "role": "clinician", "password": PASSWORD}
    answer = client.post("/accounts", data=form | {"units": "alpha, alhpa"})
    assert answer.status_code == 400
    assert "alhpa" in answer.text
    assert fresh.state.accounts.get("new") is None
    assert client.post("/accounts", data=form | {"units": "alpha"}).status_code == 303


def test_what_another_unit_entered_is_not_withdrawn(fresh):
    whole = fresh.signed_in("clinician")
    board = whole.get("/work-list.json").json()["data"]["patients"]
    stay = next(one["stay"] for one in board if one["label"].startswith("Name-b1"))
    form = {"csrf": csrf_of(whole), "stay": stay, "kind": "medically-fit"}
    assert whole.post("/work-list/entries", data=form).status_code == 303
    entry = fresh.state.entries.unflushed()[0].id
    client = fresh.signed_in("alpha")
    form = {"csrf": csrf_of(client)}
    assert client.post(f"/work-list/entries/{entry}/withdraw", data=form).status_code == 403


def test_the_audit_names_only_whom_somebody_was_shown(fresh):
    client = fresh.signed_in("alpha")
    client.get("/now")
    client.get("/work-list")
    hidden = {str(fresh.subjects[name]) for name in ("b1", "b2", "g1")}
    for row in fresh.state.audit.rows():
        if row.action == "identity-shown":
            assert row.subject not in hidden
            assert not any(one in str(row.details) for one in hidden)


# --------------------------------------------------------------- hostile texts


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.scripts, self.handlers, self.styles, self.inline = [], [], [], []
        self._style = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.handlers += [name for name in given if name.startswith("on")]
        if "style" in given:
            self.inline.append((tag, given["style"]))
        for name in ("href", "src", "action", "xlink:href"):
            if (given.get(name) or "").strip().lower().startswith("javascript:"):
                self.handlers.append(given[name])
        if tag == "script":
            self.scripts.append(given.get("src"))
        if tag == "style":
            self._style = ""

    def handle_data(self, data):
        if self._style is not None:
            self._style += data

    def handle_endtag(self, tag):
        if tag == "style" and self._style is not None:
            self.styles.append(self._style)
            self._style = None


def every_page(made, clients):
    """Every page that there is for people, by those who may open it."""
    known = str(made.subjects["a1"])
    client = clients["clinician"]
    form = {"csrf": csrf_of(client), "purpose": "treatment"}
    page = client.get(f"/patient/{known}", headers={"accept": "text/html"}).text
    offered = re.findall(r'name="purpose"[^>]*value="([^"]+)"|<option value="([^"]+)"', page)
    form["purpose"] = next((a or b for a, b in offered), "treatment")
    client.post(f"/patient/{known}/purpose", data=form)
    case = clients["analyst"].get("/pathways.json").json()["tables"].get("cases", [])
    cases = [f"/pathways/case/{one['case']}" for one in case[:2]]
    job = made.state.jobs.newest()[0].id
    for page in (*PAGES, *cases, f"/patient/{known}", f"/jobs/{job}", "/definitions?q=" + EVIL):
        yield page, client
    for page in OTHERS:
        yield page, clients["administrator"]
    yield "/data", clients["analyst"]
    yield "/data/feeds", clients["analyst"]
    yield "/data/quarantine", clients["analyst"]
    yield "/sign-in?next=/" + EVIL, made.client()
    yield "/nothing-there", client


def test_no_text_of_the_hospital_runs_on_any_page(served, clients):
    shown = 0
    for page, client in every_page(served, clients):
        answer = client.get(page, headers={"accept": "text/html"})
        assert answer.status_code in {200, 403, 404}, (page, answer.status_code)
        tags = Tags(answer.text)
        assert tags.handlers == [], page
        assert all(src and src.startswith("/static/") for src in tags.scripts), page
        assert tags.inline == [], page
        assert all(style == MAP_STYLE for style in tags.styles), page
        assert "<script>alert(7)" not in answer.text, page
        shown += "alert(7)" in html.unescape(answer.text)
    assert shown > 5


@pytest.mark.parametrize("sheet", SHEETS)
def test_no_text_of_the_hospital_runs_on_paper(clients, sheet):
    answer = clients["clinician"].get(f"/paper/{sheet}")
    assert answer.status_code == 200
    tags = Tags(answer.text)
    assert (tags.handlers, tags.scripts, tags.inline) == ([], [], [])
    nonce = re.search(r"style-src 'nonce-([^']+)'", answer.headers["content-security-policy"])
    assert nonce
    assert "'unsafe-inline'" not in answer.headers["content-security-policy"]


def test_no_cell_of_a_table_is_a_formula(served, clients):
    found = 0
    for role, pages in (
        ("clinician", (*PAGES, f"/patient/{served.subjects['a1']}")),
        ("administrator", OTHERS),
    ):
        for page in pages:
            path, _, query = page.partition("?")
            tables = clients[role].get(f"{path}.json?{query}")
            if tables.status_code != 200:
                continue
            for name in tables.json()["tables"]:
                answer = clients[role].get(f"{path}.csv?table={name}&{query}")
                for row in csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))):
                    for cell in row:
                        if cell.startswith(("=", "+", "@", "\t", "\r")):
                            pytest.fail(f"{page}: {name}: {cell[:20]}")
                        if cell.startswith("-"):
                            float(cell)
                        found += cell == f"'{FORMULA}"
    assert found


def test_every_answer_carries_the_headers(served, clients):
    for page, client in every_page(served, clients):
        answer = client.get(page, headers={"accept": "text/html"})
        assert answer.headers["content-security-policy"] == POLICY, page
        for name, value in (
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ):
            assert answer.headers[name] == value, page
    assert "unsafe" not in POLICY


@pytest.mark.parametrize(
    "path",
    ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fsettings.py",
     "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd", "/static//etc/passwd", "/static/..\\x",
     "/static/%00", "/static/", "/static/neva.css/../../settings.py"],
)  # fmt: skip
def test_only_the_files_that_are_served_are_served(served, path):
    answer = served.client().get(path)
    assert answer.status_code in {303, 400, 404, 405}
    assert "WebSettings" not in answer.text
    assert "root:" not in answer.text


def test_what_several_ask_for_at_once_is_made_once(served):
    """Forty viewers of a new minute made forty bed boards."""
    server, made = served.application.state.server, []
    start, found = threading.Barrier(20), []

    def slowly():
        made.append(1)
        time.sleep(0.2)
        return object()

    def ask():
        start.wait()
        found.append(server.kept(("asked at once",), slowly))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(found), len(set(found))) == (1, 20, 1)


def test_what_fails_is_asked_for_again(served):
    server = served.application.state.server

    def fails():
        raise ConflictError("no; found it so; wait")

    for _ in range(2):
        with pytest.raises(ConflictError):
            server.kept(("fails",), fails)
    assert server.kept(("fails",), lambda: 1) == 1


def test_a_scenario_of_a_misspelt_unit_is_refused_before_it_is_run(fresh):
    client = fresh.signed_in("analyst")
    token = csrf_of(client)
    for unit, status in (("alpa", 400), ("alpha", 303)):
        text = f"name: one bed more\nchanges:\n  - beds: {{unit: {unit}, add: 1}}\n"
        answer = client.post("/flow/scenarios", data={"csrf": token, "text": text})
        assert answer.status_code == status
        assert ("did you mean alpha?" in answer.text) == (status == 400)
        kinds = [job.kind for job in fresh.state.jobs.newest()]
        assert kinds.count("what-if") == (status == 303)
