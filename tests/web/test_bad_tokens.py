"""Tokens that are none: each is refused as if nobody were signed in, and nothing breaks."""

import base64
import hashlib
import hmac
import json
import random
from datetime import timedelta

import pytest
from tests.bedside_patients import NOW as CALLED
from tests.doors import NOW, build, csrf_of, doors
from tests.signing_keys import private_key

from neva.cds.conformance.requests import Signer
from neva.web.security.access import COOKIES

SEED = 20260101


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return build(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def served(hospital, tmp_path_factory):
    with doors(*hospital, tmp_path_factory.mktemp("state") / "state.sqlite") as made:
        yield made


def _part(content):
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def _jwt(claims, algorithm="HS256", key=b"secret"):
    signed = f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(claims)}"
    seal = b"" if algorithm == "none" else hmac.digest(key, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"


def _of_the_state(made, good):
    """What stands in the database, or can be computed from it."""
    session = hashlib.sha256(good.encode()).hexdigest()
    device = made.state.devices.remember(None, "administrator", at=NOW)
    yield from (session, bytes.fromhex(session).hex().upper(), device, session[:43])
    yield from (hmac.digest(good.encode(), b"csrf", "sha256").hex(), "administrator", "root")


def _of_elsewhere(hospital, folder, made):
    """Of another hospital, of an account that is disabled, signed out, or over."""
    with doors(*hospital, folder / "other.sqlite") as other:
        yield other.signed_in("administrator").cookies["neva_session"]
    token, session = made.state.sessions.begin("administrator", at=NOW)
    made.state.sessions.end(session.id)
    yield token
    for begun in (NOW - timedelta(hours=1), NOW - timedelta(hours=13), NOW.replace(year=2024)):
        yield made.state.sessions.begin("administrator", at=begun)[0]
    yield made.state.sessions.begin("nobody of that name", at=NOW)[0]
    made.state.accounts.put("gone", role="administrator", disabled=True, actor="root", at=NOW)
    yield made.state.sessions.begin("gone", at=NOW)[0]


def _changed(good):
    for length in (0, 1, 8, 21, len(good) - 1):
        yield good[:length]
    yield from (good[1:], good[::-1], good.swapcase(), good + good, good + "=", good + "\u00a0")
    yield from (f"{good}.", f".{good}", f"Bearer {good}", f'"{good}x"', f"{good}\t{good}")
    chance = random.Random(SEED)
    for place in chance.sample(range(len(good)), 10):
        yield good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
    seal = hmac.digest(b"secret", good.encode(), "sha256").hex()
    yield from (f"{good}.{seal}", f"{good}:{seal}", f"{seal}.{good}")


def _signed_by_others():
    claims = {"sub": "administrator", "role": "administrator", "exp": 2**40}
    yield _jwt(claims)
    yield _jwt(claims, key=b"")
    yield _jwt(claims, "none")
    yield _jwt(claims | {"exp": 0})
    signer = Signer("https://ehr.example/", "p384", "ES384", private_key("p384"))
    yield signer.token("http://127.0.0.1:8321/now", CALLED)
    yield signer.token("http://127.0.0.1:8321/cds-services/neva-patient-view", CALLED)


def _rubbish():
    chance = random.Random(SEED)
    for length in (1, 16, 32, 43, 64, 200):
        yield chance.randbytes(length).hex()
        yield chance.randbytes(length).decode("latin-1").translate({9: 33, 10: 33, 13: 33, 59: 33})
    yield from ("x" * 5_000, "x" * 60_000, "%00", "%ff%fe", "null", "undefined", "[]", "{}", "0")
    yield from ("' OR 1=1 --", "../../etc/passwd", "<script>alert(7)</script>", "\x00", "\x7f")
    yield from ("Ж" * 43, "İ", "🙂" * 10, "\ud800", "e\u0301", "\u202e")


def _tokens(hospital, folder, made):
    good = made.signed_in("administrator").cookies["neva_session"]
    return good, [
        *_changed(good), *_signed_by_others(), *_rubbish(), *_of_the_state(made, good),
        *_of_elsewhere(hospital, folder, made),
    ]  # fmt: skip


def _header(name, token):
    return f"{name}=".encode() + token.encode("utf-8", "surrogatepass")


def test_bad_tokens_of_a_session_are_refused(served, hospital, tmp_path):
    good, bad = _tokens(hospital, tmp_path, served)
    assert len(set(bad)) >= 70
    assert good not in bad
    client = served.client(raise_server_exceptions=False)

    def asked(token, method, path, name=COOKIES[0]):
        data = {"csrf": "x"} if method == "POST" else None
        return client.request(method, path, headers={"cookie": _header(name, token)}, data=data)

    assert asked(good, "GET", "/accounts").status_code == 200
    before = served.state.accounts.all()
    for token in bad:
        answer = asked(token, "GET", "/accounts")
        assert (answer.status_code, answer.headers["location"][:13]) == (303, "/sign-in?next"), (
            token[:60]
        )
        assert asked(token, "GET", "/accounts.json").status_code == 401, token[:60]
        answer = asked(token, "POST", "/accounts")
        assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), token[:60]
        # As a device it is a strange one, and breaks nothing either.
        assert asked(token, "POST", "/sign-in", "neva_device").status_code in {401, 403, 429}
    # Under the name that goes with TLS it is nothing here.
    assert asked(good, "GET", "/accounts", COOKIES[1]).status_code == 303
    assert served.state.accounts.all() == before


def test_a_token_in_another_header_is_no_session(served):
    client = served.signed_in("administrator")
    headers = {"authorization": f"Bearer {client.cookies['neva_session']}"}
    assert served.client().get("/accounts.json", headers=headers).status_code == 401
    assert served.client().get("/accounts.json", auth=("administrator", "x")).status_code == 401


def test_a_bad_token_of_a_form_is_refused(served, hospital, tmp_path):
    client = served.signed_in("administrator", raise_server_exceptions=False)
    token = csrf_of(client)
    _, bad = _tokens(hospital, tmp_path, served)
    before = served.state.accounts.all()
    for one in (*bad, token[:-1], token.upper(), token + "0", token[::-1]):
        form = {"csrf": one.encode("utf-8", "surrogatepass"), "name": "new", "role": "viewer"}
        assert client.post("/accounts", data=form).status_code in {400, 403}, one[:60]
    assert served.state.accounts.all() == before
