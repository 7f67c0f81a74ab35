"""Signing in with a real OpenID provider on this machine, and with ones that cheat."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.doors import NOW, PASSWORD, Doors, doors
from tests.hospitals import new_hospital
from tests.oidc_provider import (
    CLIENT,
    SECRET,
    LocalProvider,
    started_provider,
    unsigned,
    with_public_key,
    with_secret,
)
from tests.signing_keys import jwk, signed

from neva.errors import BadInputError, ConflictError, NotFoundError
from neva.web.security.oidc import derived, journey_of
from neva.web.security.oidc_settings import read_oidc_settings


@pytest.fixture(scope="module")
def server() -> Iterator[LocalProvider]:
    with started_provider() as started:
        yield started


@pytest.fixture
def provider(server) -> LocalProvider:
    fresh = LocalProvider(issuer=server.issuer)
    server.__dict__.update(fresh.__dict__)
    return server


def settings_file(folder: Path, issuer: str, more: str = "") -> Path:
    (folder / "oidc.secret").write_text(SECRET + "\n")
    path = folder / "oidc.yaml"
    path.write_text(
        f"issuer: {issuer}\nclient_id: {CLIENT}\nclient_secret_file: oidc.secret\n"
        "roles:\n  - {value: doctors, role: clinician}\n  - {value: staff, role: viewer}\n" + more
    )
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return new_hospital(tmp_path_factory.mktemp("oidc")).path


@pytest.fixture
def made(provider, place, tmp_path) -> Iterator[Doors]:
    oidc = settings_file(tmp_path, provider.issuer)
    with doors(place, {}, tmp_path / "state.sqlite", oidc=oidc) as served:
        yield served


@pytest.fixture(scope="module")
def shared(server, place, tmp_path_factory) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("shared")
    oidc = settings_file(folder, server.issuer)
    with doors(place, {}, folder / "state.sqlite", oidc=oidc) as served:
        yield served


def went(client, *, page="/now", change=lambda address: address):
    """Go to the provider and back; the last answer is ours."""
    away = client.get("/sign-in/oidc", params={"next": page})
    assert away.status_code == 303, away.text
    back = httpx.get(away.headers["location"], follow_redirects=False)
    return client.get(change(back.headers["location"]))


def refused(made, client, answer, why):
    assert answer.status_code in {400, 403}
    assert client.get("/now").status_code == 303
    last = list(made.state.audit.rows())[-1]
    assert (last.action, last.actor) == ("login-refused", "unknown")
    assert why in last.why


def test_a_person_of_the_provider_comes_in_with_the_role_of_their_group(made):
    client = made.client()
    answer = went(client, page="/work-list")
    assert (answer.status_code, answer.headers["location"]) == (303, "/work-list")
    assert client.get("/work-list").status_code == 200
    account = next(one for one in made.state.accounts.all() if one.issuer)
    assert account.name.startswith("adams-")
    assert account.name.endswith("@127.0.0.1")
    assert (account.shown, account.role, account.units) == ("Dr Adams", "clinician", None)
    assert not account.has_password
    last = [row for row in made.state.audit.rows() if row.action == "login"][-1]
    assert (last.actor, last.why) == (account.name, "provider")


def test_the_session_is_a_new_one_and_the_one_before_is_over(made):
    client = made.signed_in("viewer")
    before = next(one.value for one in client.cookies.jar if one.name == "neva_session")
    went(client)
    after = next(one.value for one in client.cookies.jar if one.name == "neva_session")
    assert after != before
    assert made.state.sessions.find(before, at=NOW) is None


def test_role_name_and_units_follow_the_claims_at_each_sign_in(made, provider):
    went(made.client())
    provider.claims = {"groups": ["staff"], "name": "Prof Adams", "preferred_username": "a.adams"}
    client = made.client()
    went(client)
    accounts = [one for one in made.state.accounts.all() if one.issuer]
    assert [(one.shown, one.role) for one in accounts] == [("Prof Adams", "viewer")]
    assert client.get("/work-list").status_code == 403


def test_another_person_of_the_same_name_is_another_account(made, provider):
    went(made.client())
    provider.claims = {"sub": "s-2"}
    went(made.client())
    assert len([one for one in made.state.accounts.all() if one.issuer]) == 2


def test_an_account_of_the_provider_gets_no_password_here(made):
    went(made.client())
    name = next(one.name for one in made.state.accounts.all() if one.issuer)
    with pytest.raises(ConflictError, match="provider"):
        made.state.accounts.change(name, password=PASSWORD, actor="root", at=NOW)
    assert made.state.accounts.verify(name, PASSWORD) is None


@pytest.mark.parametrize("cookie", ["", "x", "W10", "e30", "WzEsMiwzXQ", "%ff", "a" * 4001])
def test_a_cookie_that_is_none_of_ours_is_none(cookie):
    assert journey_of(cookie) is None


def test_units_come_from_the_claims(provider, tmp_path):
    path = settings_file(tmp_path, provider.issuer, "units:\n  icu: [ICU-1, ICU-2]\n  ed: [ED]\n")
    settings = read_oidc_settings(path)
    assert settings.place_of({"groups": ["doctors", "icu"]}).units == ("ICU-1", "ICU-2")
    assert settings.place_of({"groups": ["doctors"]}).units == ()
    assert settings.place_of({"groups": ["icu"]}) is None


def test_the_first_role_of_the_file_counts_and_groups_may_lie_deeper(provider, tmp_path):
    path = settings_file(tmp_path, provider.issuer, "claim: realm_access.roles\n")
    settings = read_oidc_settings(path)
    assert settings.place_of({"realm_access": {"roles": ["staff", "doctors"]}}).role == "clinician"
    for claims in ({}, {"realm_access": 3}, {"realm_access": {"roles": {"doctors": 1}}}):
        assert settings.place_of(claims) is None


@pytest.mark.parametrize("groups", [None, [], ["visitors"], 7, [["doctors"]]])
def test_somebody_without_a_role_gets_a_page_and_no_account(shared, provider, groups):
    provider.claims = {"groups": groups}
    client = shared.client()
    answer = went(client)
    assert answer.status_code == 403
    assert "has no access here" in answer.text
    refused(shared, client, answer, "no role")
    assert not [one for one in shared.state.accounts.all() if one.issuer]


def test_somebody_who_was_disabled_here_stays_out_under_another_name_too(made, provider):
    went(made.client())
    name = next(one.name for one in made.state.accounts.all() if one.issuer)
    made.state.accounts.change(name, disabled=True, actor="root", at=NOW)
    provider.claims = {"preferred_username": "renamed"}
    client = made.client()
    refused(made, client, went(client), "disabled")


OWN_KEY = {"alg": "RS256", "jwk": jwk("rsa", number=1)}
LONG_AGO = int(NOW.timestamp()) - 1_000


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": LONG_AGO, "iat": LONG_AGO - 300},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": None},
        {"nbf": int(NOW.timestamp()) + 3_600},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "s" * 256},
    ],
)
def test_a_token_with_other_claims_is_refused(shared, provider, claims):
    provider.claims = claims
    client = shared.client()
    refused(shared, client, went(client), "ID token")


@pytest.mark.parametrize(
    "sign",
    [
        unsigned,
        with_secret,
        with_public_key,
        lambda claims: signed({"alg": "RS256", "kid": "rsa"}, claims, "rsa", number=1),
        lambda claims: signed({"alg": "RS256", "kid": "unknown"}, claims, "rsa", number=1),
        lambda claims: signed({"alg": "ES256", "kid": "rsa"}, claims, "p256"),
        lambda claims: signed(OWN_KEY, claims, "rsa", number=1),
        lambda claims: "no.token",
        lambda claims: "",
    ],
    ids=["none", "hs256", "hs256 with the public key", "another key", "unknown kid", "another kind",
         "a key of its own", "no token", "empty"],
)  # fmt: skip
def test_a_token_that_the_provider_did_not_sign_is_refused(shared, provider, sign):
    provider.sign = sign
    client = shared.client()
    refused(shared, client, went(client), "ID token")


def test_new_keys_of_the_provider_are_found(made, provider):
    went(made.client())
    provider.keys = [jwk("rsa", kid="new", number=1)]
    provider.sign = lambda claims: signed({"alg": "RS256", "kid": "new"}, claims, "rsa", number=1)
    made.later(minutes=2)
    client = made.client()
    assert went(client).status_code == 303
    assert client.get("/now").status_code == 200


def test_the_provider_is_not_asked_for_everything_every_time(made, provider):
    for _ in range(3):
        assert went(made.client()).status_code == 303
    assert provider.asked == ["about", "token", "keys", "token", "token"]


def test_bad_tokens_make_nobody_ask_for_keys_again_and_again(made, provider):
    provider.sign = unsigned
    for _ in range(4):
        went(made.client())
    assert provider.asked.count("keys") == 1


@pytest.mark.parametrize("state", ["", "wrong", "%ff", "x" * 5_000])
def test_another_state_is_refused(shared, provider, state):
    client = shared.client()

    def change(address):
        code = parse_qs(urlsplit(address).query)["code"][0]
        return f"/sign-in/oidc/callback?code={code}&state={state}"

    refused(shared, client, went(client, change=change), "way back")


def test_a_way_back_is_gone_once_only(made, provider):
    client = made.client()
    seen = []

    def change(address):
        seen.append(address)
        return address

    away = client.get("/sign-in/oidc")
    cookie = client.cookies["neva_provider"]
    back = httpx.get(away.headers["location"], follow_redirects=False).headers["location"]
    assert client.get(back).status_code == 303
    again = made.client(cookies={"neva_provider": cookie})
    refused(made, again, again.get(back), "way back")
    assert provider.asked.count("token") == 1


def test_a_way_back_of_another_browser_is_refused(made):
    victim, attacker = made.client(), made.client()
    away = attacker.get("/sign-in/oidc")
    back = httpx.get(away.headers["location"], follow_redirects=False).headers["location"]
    refused(made, victim, victim.get(back), "way back")
    victim.get("/sign-in/oidc")
    refused(made, victim, victim.get(back), "way back")


def test_a_way_back_after_ten_minutes_is_refused(made):
    client = made.client()
    away = client.get("/sign-in/oidc")
    back = httpx.get(away.headers["location"], follow_redirects=False).headers["location"]
    made.later(minutes=10)
    refused(made, client, client.get(back), "way back")


@pytest.mark.parametrize("query", ["error=access_denied", "code=", "code=made-up", "code=c&iss=x"])
def test_what_is_no_code_is_refused(shared, provider, query):
    client = shared.client()

    def change(address):
        state = parse_qs(urlsplit(address).query)["state"][0]
        return f"/sign-in/oidc/callback?state={state}&{query}"

    refused(shared, client, went(client, change=change), "code")


def test_an_answer_without_an_id_token_is_refused(made, provider):
    provider.without_id_token = True
    client = made.client()
    refused(made, client, went(client), "no ID token")


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"issuer": "https://other.example"}, "calls itself otherwise"),
        ({"token_endpoint": "http://id.example/token"}, "no https"),
        ({"jwks_uri": ""}, "no https"),
    ],
)
def test_a_provider_that_is_not_what_the_settings_say_is_not_used(made, provider, about, why):
    provider.about = about
    client = made.client()
    answer = client.get("/sign-in/oidc")
    refused(made, client, answer, why)


def test_after_signing_in_only_pages_of_ours_are_opened(made):
    client = made.client()
    assert went(client, page="https://evil.example/").headers["location"] == "/now"


def test_nothing_secret_stands_in_the_state(made, tmp_path):
    client = made.client()
    client.get("/sign-in/oidc")
    secret = client.cookies["neva_provider"]
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("state.sqlite*"))
    for text in (secret, *(derived(secret, what) for what in ("state", "nonce", "verifier"))):
        assert text.encode() not in kept


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("issuer: http://id.example", "https"),
        ("roles: []", "roles"),
        ("roles: [{value: a, role: king}]", "role"),
        ("client_secret: hunter2", "client_secret"),
        ("roles: [", "YAML"),
    ],
)
def test_settings_that_cannot_be_are_refused_without_repeating_them(tmp_path, line, says):
    path = settings_file(tmp_path, "https://id.example")
    key = line.split(":")[0]
    kept = [one for one in path.read_text().splitlines() if not one.startswith((key + ":", "  -"))]
    if key != "roles":
        kept = [*kept, "  - {value: a, role: viewer}"]
    path.write_text("\n".join([line, *kept]))
    with pytest.raises(BadInputError, match=says) as told:
        read_oidc_settings(path)
    assert "hunter2" not in str(told.value)


def test_an_absent_file_or_secret_is_said(tmp_path):
    with pytest.raises(NotFoundError):
        read_oidc_settings(tmp_path / "absent.yaml")
    settings = read_oidc_settings(settings_file(tmp_path, "https://id.example"))
    (tmp_path / "oidc.secret").unlink()
    with pytest.raises(NotFoundError, match="secret"):
        _ = settings.secret
