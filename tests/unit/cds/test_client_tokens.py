"""Tokens of CDS clients: each rule, and what happens when it is broken."""

import json
import traceback
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from tests.command_line import CANARY
from tests.signing_keys import (
    ALGORITHM_BY_KEY,
    encoded,
    jwk,
    private_key,
    signed,
    with_hmac,
)

from neva.cds.client_keys import ALGORITHMS
from neva.cds.client_tokens import REASONS, Client, Unauthorised, read_clients, verify
from neva.errors import BadInputError, NotFoundError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
ISSUER = "https://ehr.example/"
SERVICE = "https://neva.example/cds-services/sepsis"
HEADER = {"alg": "ES384", "typ": "JWT", "kid": "p384"}
CLAIMS = {"iss": ISSUER, "aud": SERVICE, "exp": AT + 120, "iat": AT, "jti": "one"}


class Taken:
    """A store of tokens in memory, which also notes what it was asked."""

    def __init__(self):
        self.asked = []

    def take(self, issuer, jti, expires, now):
        name = (issuer, jti)
        is_new = name not in [asked[:2] for asked in self.asked]
        self.asked.append((*name, expires))
        return is_new


def clients_of(folder, **changes):
    content = {"issuer": ISSUER, "name": "record", "jwks": "keys.json"} | changes
    (folder / "keys.json").write_text(
        json.dumps({"keys": [jwk(kind) for kind in ALGORITHM_BY_KEY]})
    )
    (folder / "clients.yaml").write_text(yaml.safe_dump({"clients": [content]}))
    return read_clients(folder / "clients.yaml")


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return clients_of(tmp_path_factory.mktemp("clients"))


def said(clients, token, *, tokens=None, audience=SERVICE, now=NOW):
    """Who called, or the reason for which it was refused."""
    header = token if token is None or token.startswith("raw ") else f"Bearer {token}"
    header = header[4:] if header and header.startswith("raw ") else header
    found = None
    try:
        found = verify(header, clients, audience=audience, tokens=tokens or Taken(), now=now)
    except Unauthorised as error:
        refused = error  # the name of an exception ends with its block
    if found is not None:
        return found
    assert str(refused) == "unauthorised"
    # No part of the token in what a log would show.
    assert CANARY not in "".join(traceback.format_exception(refused))
    assert refused.code in REASONS
    return refused.code


@pytest.mark.parametrize(
    ("kind", "algorithm"), [(k, a) for k, names in ALGORITHM_BY_KEY.items() for a in names]
)
def test_every_asymmetric_algorithm_is_accepted_with_its_key(clients, kind, algorithm):
    header = {"alg": algorithm, "typ": "JWT", "kid": kind}
    assert said(clients, signed(header, CLAIMS, kind)) == Client(ISSUER, "record")


def test_all_algorithms_are_tested():
    assert {a for names in ALGORITHMS.values() for a in names} == {
        a for names in ALGORITHM_BY_KEY.values() for a in names
    }


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        (kind, algorithm)
        for kind in ALGORITHM_BY_KEY
        for algorithm in sorted({a for names in ALGORITHM_BY_KEY.values() for a in names})
        if algorithm not in ALGORITHM_BY_KEY[kind]
    ],
)
def test_an_algorithm_of_another_type_of_key_is_refused(clients, kind, algorithm):
    header = {"alg": algorithm, "typ": "JWT", "kid": kind}
    token = signed(header, CLAIMS, kind, by=ALGORITHM_BY_KEY[kind][0])
    assert said(clients, token) == "algorithm"


def test_a_key_with_its_algorithm_named_takes_no_other(tmp_path):
    only = clients_of(tmp_path, jwks={"keys": [jwk("rsa") | {"alg": "RS384"}]})
    for algorithm, answer in (("RS384", Client(ISSUER, "record")), ("PS384", "algorithm")):
        token = signed({"alg": algorithm, "typ": "JWT", "kid": "rsa"}, CLAIMS, "rsa")
        assert said(only, token) == answer


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "HS384", "es384", "x"])
def test_unsigned_and_shared_key_tokens_are_refused(clients, algorithm):
    header = HEADER | {"alg": algorithm}
    content = f"{encoded(header)}.{encoded(CLAIMS)}"
    assert said(clients, f"{content}.{encoded(b'x')}") == "algorithm"
    assert said(clients, f"{content}.") == "malformed"
    assert said(clients, content) == "malformed"


@pytest.mark.parametrize("kind", ALGORITHM_BY_KEY)
@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
def test_the_public_key_as_a_shared_secret_does_not_pass(clients, kind, form, algorithm):
    public = private_key(kind).public_key()
    secret = {
        "pem": lambda: public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "der": lambda: public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "jwk": lambda: json.dumps(jwk(kind)).encode(),
    }[form]()
    token = with_hmac({"alg": algorithm, "typ": "JWT", "kid": kind}, CLAIMS, secret)
    assert said(clients, token) in {"algorithm", "signature"}


def test_a_key_in_the_header_is_not_used(clients):
    stranger = jwk("p384", number=1)
    header = HEADER | {"jwk": stranger, "x5u": "https://evil.example", "x5c": ["x"]}
    assert said(clients, signed(header, CLAIMS, "p384", number=1)) == "signature"
    assert said(clients, signed(header, CLAIMS)) == Client(ISSUER, "record")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kid": "other"}, "key"),
        ({"kid": None}, "key"),
        ({"kid": ["p384"]}, "key"),
        ({"kid": "../keys.json"}, "key"),
        ({"kid": "rsa"}, "algorithm"),
        ({"kid": "p521"}, "algorithm"),
        ({"typ": "JWS"}, "header"),
        ({"typ": None}, "header"),
        ({"crit": ["exp"]}, "header"),
        ({"crit": []}, "header"),
        ({"b64": False}, "header"),
        ({"jku": "https://ehr.example/keys"}, "jku"),
        ({"jku": None}, "jku"),
        ({"alg": ["ES384"]}, "algorithm"),
        ({"alg": None}, "algorithm"),
    ],
)
def test_a_header_that_breaks_one_rule_is_refused(clients, change, code):
    assert said(clients, signed(HEADER | change, CLAIMS, by="ES384")) == code


@pytest.mark.parametrize("name", ["alg", "typ", "kid"])
def test_a_header_without_a_required_field_is_refused(clients, name):
    header = {key: value for key, value in HEADER.items() if key != name}
    assert isinstance(said(clients, signed(header, CLAIMS, by="ES384")), str)


def test_the_agreed_jku_is_accepted_and_no_other_and_nothing_is_opened(tmp_path):
    agreed = clients_of(tmp_path, jku="https://ehr.example/jwks")
    for jku, answer in (
        ("https://ehr.example/jwks", Client(ISSUER, "record")),
        ("https://ehr.example/jwks/", "jku"),
        ("https://evil.example/jwks", "jku"),
        (7, "jku"),
    ):
        assert said(agreed, signed(HEADER | {"jku": jku}, CLAIMS)) == answer
    assert said(agreed, signed(HEADER, CLAIMS)) == Client(ISSUER, "record")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"iss": "https://evil.example/"}, "issuer"),
        ({"iss": ISSUER.rstrip("/")}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "https://neva.example/cds-services"}, "audience"),
        ({"aud": SERVICE + "/"}, "audience"),
        ({"aud": SERVICE.upper()}, "audience"),
        ({"aud": [SERVICE, "https://other.example"]}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": [[SERVICE]]}, "audience"),
        ({"aud": {SERVICE: 1}}, "audience"),
        ({"aud": 7}, "audience"),
        ({"exp": AT - 30}, "expired"),
        ({"exp": AT - 31, "iat": AT - 60}, "expired"),
        ({"exp": str(AT + 60)}, "claims"),
        ({"exp": True}, "claims"),
        ({"exp": None}, "claims"),
        ({"exp": [AT]}, "claims"),
        ({"exp": -1}, "claims"),
        ({"exp": 10**400}, "claims"),
        ({"exp": 2**53}, "claims"),
        ({"exp": 2**53 - 1}, "lifetime"),
        ({"exp": AT + 301}, "lifetime"),
        ({"iat": AT + 31, "exp": AT + 100}, "not-yet"),
        ({"nbf": AT + 31}, "not-yet"),
        ({"nbf": "now"}, "claims"),
        ({"iat": AT + 120}, "claims"),
        ({"iat": None}, "claims"),
        ({"iat": False}, "claims"),
        ({"jti": ""}, "claims"),
        ({"jti": 7}, "claims"),
        ({"jti": None}, "claims"),
        ({"jti": ["one"]}, "claims"),
        ({"jti": "x" * 1001}, "claims"),
        ({"tenant": 7}, "claims"),
        ({"tenant": ""}, "claims"),
    ],
)
def test_claims_that_break_one_rule_are_refused_and_take_no_name(clients, change, code):
    tokens = Taken()
    change = {"iat": AT - 60} | change if change.get("exp") == AT - 30 else change
    assert said(clients, signed(HEADER, CLAIMS | change), tokens=tokens) == code
    assert tokens.asked == []


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_of_the_specification_is_required(clients, name):
    claims = {key: value for key, value in CLAIMS.items() if key != name}
    assert isinstance(said(clients, signed(HEADER, claims)), str)


@pytest.mark.parametrize(
    "change",
    [
        {"aud": [SERVICE]},
        {"exp": AT + 300},
        {"exp": AT - 29, "iat": AT - 60},
        {"iat": AT + 30},
        {"exp": AT + 60.5},
        {"nbf": AT},
        {"sub": "x", "unknown": {"a": [1]}},
        {"jti": "x" * 1000},
    ],
)
def test_the_edges_of_the_rules_are_inside(clients, change):
    assert said(clients, signed(HEADER, CLAIMS | change)) == Client(ISSUER, "record")


def test_an_endpoint_may_be_known_under_several_addresses(clients):
    token = signed(HEADER, CLAIMS)
    assert said(clients, token, audience=["https://other.example", SERVICE]).issuer == ISSUER
    assert said(clients, token, audience=["https://other.example"]) == "audience"
    assert said(clients, token, audience=[]) == "audience"


def test_a_client_calls_only_the_endpoints_it_may(tmp_path):
    limited = clients_of(tmp_path, audiences=["https://neva.example/cds-services/other"])
    assert said(limited, signed(HEADER, CLAIMS)) == "audience"


def test_a_tenant_must_be_one_of_those_agreed(tmp_path):
    agreed = clients_of(tmp_path, tenants=["t1"])
    assert said(agreed, signed(HEADER, CLAIMS)) == "tenant"
    assert said(agreed, signed(HEADER, CLAIMS | {"tenant": "t2"})) == "tenant"
    answer = said(agreed, signed(HEADER, CLAIMS | {"tenant": "t1"}))
    assert answer == Client(ISSUER, "record", "t1")


def test_a_token_is_good_once(clients):
    tokens = Taken()
    token = signed(HEADER, CLAIMS)
    assert said(clients, token, tokens=tokens) == Client(ISSUER, "record")
    assert said(clients, token, tokens=tokens) == "replayed"
    again = signed(HEADER, CLAIMS | {"iat": AT - 1})
    assert said(clients, again, tokens=tokens) == "replayed"


def test_a_name_is_remembered_until_its_token_is_refused_for_its_age(clients):
    tokens = Taken()
    said(clients, signed(HEADER, CLAIMS), tokens=tokens)
    assert tokens.asked == [(ISSUER, "one", NOW + timedelta(seconds=150))]


def test_a_forged_token_takes_no_name(clients):
    tokens = Taken()
    assert said(clients, signed(HEADER, CLAIMS, number=1), tokens=tokens) == "signature"
    assert tokens.asked == []


def test_the_state_remembers_tokens(clients, database):
    tokens = database.open().tokens
    token = signed(HEADER, CLAIMS)
    assert said(clients, token, tokens=tokens) == Client(ISSUER, "record")
    assert said(clients, token, tokens=tokens) == "replayed"


# --- the form of a token


@pytest.mark.parametrize("place", [0, 1])
def test_a_claim_that_stands_twice_is_refused(clients, place):
    texts = [json.dumps(HEADER), json.dumps(CLAIMS)]
    name = ("kid", "iss")[place]
    texts[place] = texts[place][:-1] + f', "{name}": "other"}}'
    content = f"{encoded(texts[0])}.{encoded(texts[1])}"
    from jwt.algorithms import get_default_algorithms

    signature = get_default_algorithms()["ES384"].sign(content.encode(), private_key("p384"))
    assert said(clients, f"{content}.{encoded(signature)}") == "malformed"


@pytest.mark.parametrize(
    "claims",
    [
        "[]", "7", "null", '"x"', "", "{", "{} x", '{"exp": NaN}', '{"exp": Infinity}',
        "[" * 3000, '{"a":' * 1000, b"\xff\xfe", '{"exp": ' + "1" * 5000 + "}",
    ],
)  # fmt: skip
def test_claims_that_are_not_an_object_are_refused(clients, claims):
    assert said(clients, signed(HEADER, claims)) == "malformed"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "absent"),
        ("raw ", "absent"),
        (f"raw Basic {CANARY}", "malformed"),
        (f"raw Bearer {CANARY}", "malformed"),
        ("raw Bearer a.b", "malformed"),
        ("raw Bearer a.b.c.d", "malformed"),
        ("raw Bearer e30=.e30=.e30=", "malformed"),
        ("raw Bearer é.é.é", "malformed"),
        ("raw Bearer a.a.a", "malformed"),
        (f"raw Bearer {'e30.' * 2}{'A' * 8192}", "too-large"),
        ("raw Bearer " + "x" * 10_000_000, "too-large"),
    ],
)
def test_what_is_no_token_is_refused(clients, header, code):
    assert said(clients, header) == code


def test_a_token_is_written_in_one_way_only(clients):
    token = signed(HEADER, CLAIMS, "p384")
    good = f"Bearer {token}"
    for other in (good + "=", good + " ", good + "\n", good + ", " + good, " " + good):
        assert said(clients, f"raw {other}") == "malformed"
    assert said(clients, f"raw bearer  {token}") == Client(ISSUER, "record")


@given(st.data())
def test_a_token_with_any_character_changed_is_refused(clients, data):
    token = signed(HEADER, CLAIMS)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.= é"))
    changed = token[:place] + other + token[place + 1 :]
    if changed != token:
        assert isinstance(said(clients, changed), str)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(
    st.sampled_from([*CLAIMS, "nbf", "tenant", "sub"]), json_values,
    st.sampled_from([*HEADER, "jku", "crit", "b64", "x"]), json_values, st.booleans(),
)  # fmt: skip
def test_any_value_anywhere_is_accepted_or_refused_and_never_an_error(
    clients, claim, value, field, other, in_header
):
    header = HEADER | ({field: other} if in_header else {})
    claims = CLAIMS | ({} if in_header else {claim: value})
    answer = said(clients, signed(header, claims, by="ES384"))
    assert isinstance(answer, (str, Client))


@given(st.text(max_size=200))
def test_any_header_is_refused_and_never_an_error(clients, text):
    assert isinstance(said(clients, f"raw {text}"), str)


# --- the file of clients


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"jwks": {"keys": []}}, "not a JWK Set"),
        ({"jwks": [1]}, "not a JWK Set"),
        ({"jwks": {"keys": [{"kty": "EC"}]}}, "needs a kid"),
        ({"jwks": {"keys": [{"kty": "oct", "kid": "a", "k": CANARY}]}}, "only public keys"),
        ({"jwks": {"keys": [jwk("p384", private=True)]}}, "only public keys"),
        ({"jwks": {"keys": [jwk("rsa", private=True)]}}, "only public keys"),
        ({"jwks": {"keys": [jwk("p384"), jwk("p256", kid="p384")]}}, "two keys have one kid"),
        ({"jwks": {"keys": [jwk("p384") | {"alg": "ES256"}]}}, "alg does not fit"),
        ({"jwks": {"keys": [jwk("p384") | {"alg": "HS256"}]}}, "alg does not fit"),
        ({"jwks": {"keys": [jwk("rsa") | {"alg": "none"}]}}, "alg does not fit"),
        ({"jwks": {"keys": [jwk("p384") | {"use": "enc"}]}}, "not for signatures"),
        ({"jwks": {"keys": [jwk("p384") | {"key_ops": ["sign"]}]}}, "not for signatures"),
        ({"jwks": {"keys": [jwk("p384") | {"key_ops": 7}]}}, "not for signatures"),
        ({"jwks": {"keys": [jwk("p384") | {"crv": "secp256k1"}]}}, "not a key that can sign"),
        ({"jwks": {"keys": [jwk("p384") | {"crv": "P-256"}]}}, "not a public key"),
        ({"jwks": {"keys": [jwk("p384") | {"x": "AAAA"}]}}, "not a public key"),
        ({"jwks": {"keys": [jwk("p384") | {"kty": "DSA"}]}}, "not a key that can sign"),
        ({"issuer": 7}, "must be text"),
        ({"jku": ["x"]}, "must be text"),
        ({"audiences": 7}, "list of texts"),
        ({"tenants": [7]}, "list of texts"),
        ({"secret": CANARY}, "not a client"),
    ],
)
def test_a_wrong_file_of_clients_is_refused_without_its_secrets(tmp_path, change, what):
    with pytest.raises(BadInputError, match=what) as refused:
        clients_of(tmp_path, **change)
    assert CANARY not in str(refused.value)


def test_a_short_rsa_key_is_refused(tmp_path):
    key = rsa.generate_private_key(65537, 1024).public_key()
    weak = RSAAlgorithm.to_jwk(key, as_dict=True) | {"kid": "a", "key_ops": ["verify"]}
    with pytest.raises(BadInputError, match="too short"):
        clients_of(tmp_path, jwks={"keys": [weak]})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "clients: []", "clients: 7", "clients: [7]", "{", "a: b", "clients: [{issuer: a}]",
     "clients: [{issuer: a, jwks: x.json}]\nlifetime_seconds: 9999",
     "clients: [{issuer: a, jwks: x.json}]\nleeway_seconds: true"],
)  # fmt: skip
def test_what_is_no_file_of_clients_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(json.dumps({"keys": [jwk("p384")]}))
    (tmp_path / "clients.yaml").write_text(text)
    with pytest.raises(BadInputError):
        read_clients(tmp_path / "clients.yaml")


def test_two_clients_with_one_issuer_are_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"keys": [jwk("p384")]}))
    one = {"issuer": "a", "jwks": "x.json"}
    (tmp_path / "clients.json").write_text(json.dumps({"clients": [one, one]}))
    with pytest.raises(BadInputError, match="one issuer"):
        read_clients(tmp_path / "clients.json")


def test_absent_files_are_said(tmp_path):
    with pytest.raises(NotFoundError):
        read_clients(tmp_path / "clients.json")
    (tmp_path / "clients.json").write_text('{"clients": [{"issuer": "a", "jwks": "no.json"}]}')
    with pytest.raises(NotFoundError, match=r"no\.json"):
        read_clients(tmp_path / "clients.json")
