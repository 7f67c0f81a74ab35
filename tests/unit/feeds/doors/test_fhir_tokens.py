"""SMART Backend Services: who asks signs, each assertion counts once, tokens are renewed."""

import base64
import hashlib
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tests.command_line import CANARY
from tests.signing_keys import private_key
from tests.unit.feeds.doors.test_fhir import clock, observed, poll, server, values

from neva.errors import BadInputError, MappingError, NotFoundError, UsageError
from neva.feeds.doors.fhir_server import read_server_settings
from neva.feeds.doors.fhir_tokens import OAuth, assertion, key_set

__all__ = ["clock", "poll", "server"]

KEYS = {"RS384": "rsa", "ES384": "p384"}


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(token, public):
    """Check a signature by the primitives alone; return header and claims."""
    header, claims, signature = token.split(".")
    content, signature = f"{header}.{claims}".encode(), decoded(signature)
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, content, padding.PKCS1v15(), hashes.SHA384())
    else:
        assert len(signature) == 96
        r, s = (int.from_bytes(signature[at : at + 48]) for at in (0, 48))
        public.verify(encode_dss_signature(r, s), content, ec.ECDSA(hashes.SHA384()))
    return json.loads(decoded(header)), json.loads(decoded(claims))


def public_of(jwk):
    """Make a public key of the numbers in a JWK."""
    number = {name: int.from_bytes(decoded(jwk[name])) for name in ("n", "e", "x", "y")
              if name in jwk}  # fmt: skip
    if jwk["kty"] == "RSA":
        return rsa.RSAPublicNumbers(number["e"], number["n"]).public_key()
    return ec.EllipticCurvePublicNumbers(number["x"], number["y"], ec.SECP384R1()).public_key()


def pem_of(key, form=serialization.PrivateFormat.PKCS8):
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


class Authority:
    """A token endpoint that takes an assertion once, of whom it knows."""

    def __init__(self, url, keys):
        self.url, self.keys, self.used, self.asked = url, keys, set(), []
        self.seconds = 300

    def __call__(self, form):
        self.asked.append(form)
        header = json.loads(decoded(form["client_assertion"].split(".")[0]))
        (jwk,) = [one for one in self.keys if one["kid"] == header["kid"]]
        try:
            _, claims = verified(form["client_assertion"], public_of(jwk))
        except InvalidSignature:
            return 401, {"error": "invalid_client"}
        now = time.time()
        is_known = (
            form["grant_type"] == "client_credentials"
            and form["client_assertion_type"]
            == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            and header["alg"] == jwk["alg"]
            and claims["iss"] == claims["sub"] == "neva"
            and claims["aud"] == self.url
            and now < claims["exp"] <= now + 300
            and claims["jti"] not in self.used
        )
        if not is_known:
            return 400, {"error": "invalid_client"}
        self.used.add(claims["jti"])
        return 200, {"access_token": f"t{len(self.used)}", "token_type": "bearer",
                     "expires_in": self.seconds}  # fmt: skip


@pytest.fixture(params=KEYS)
def oauth(request, server, tmp_path):
    (tmp_path / "key.pem").write_text(pem_of(private_key(KEYS[request.param])))
    made = OAuth(
        token_url=server.base + "/token", client_id="neva", scope="system/*.rs",
        private_key_file=tmp_path / "key.pem",
    )  # fmt: skip
    server.judge = Authority(made.token_url, key_set(made)["keys"])
    server.token = "nobody knows"
    return made


def test_a_signed_assertion_gets_a_token(hospital, server, poll, oauth):
    observed(server, 1, -60)
    poll(oauth=oauth.model_dump())
    assert values(hospital) == [4.0]
    assert server.tokens_given == 1
    assert server.judge.asked[0]["scope"] == "system/*.rs"


def test_a_token_is_renewed_when_it_ends_or_is_refused_once(
    hospital, server, poll, oauth, monkeypatch
):
    observed(server, 1, -60)
    server.judge.seconds = 0  # ended as soon as it came
    poll(oauth=oauth.model_dump())
    assert server.tokens_given == len(server.judge.used) > 2
    server.judge.seconds = 300
    before = server.tokens_given

    def renewed(path):
        if "Observation?" in path and server.tokens_given == before + 1:
            server.token = "another since"

    server.before = renewed
    poll(oauth=oauth.model_dump())
    assert server.tokens_given == before + 2


def test_a_token_that_is_refused_again_is_said(server, poll, oauth):
    def other(form):
        status, given = Authority.__call__(authority, form)
        server.tokens_given += 1
        return status, {"access_token": given["access_token"], "token_type": "bearer"}

    authority, server.before = server.judge, lambda _: None
    server.judge = other
    server.refuses = True
    with pytest.raises(BadInputError, match="status 401"):
        poll(oauth=oauth.model_dump())
    assert len(authority.used) == 3  # one, and each of two requests renewed it once


def test_where_tokens_come_from_is_asked_of_the_server(hospital, server, poll, oauth):
    server.smart = {"token_endpoint": oauth.token_url}
    observed(server, 1, -60)
    poll(oauth={**oauth.model_dump(), "token_url": None})
    assert values(hospital) == [4.0]
    assert any("smart-configuration" in one for one in server.asked)


@pytest.mark.parametrize(
    ("smart", "error"),
    [
        (None, BadInputError),
        ([], BadInputError),
        ({"token_endpoint": 7}, BadInputError),
        ({"token_endpoint": "http://ehr.example/token"}, UsageError),
        ({"token_endpoint": "file:///etc/passwd"}, UsageError),
    ],
)
def test_an_assertion_goes_to_no_other_place(server, poll, oauth, smart, error):
    server.smart = smart
    with pytest.raises(error):
        poll(oauth={**oauth.model_dump(), "token_url": None})
    assert server.judge.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"error": CANARY}),
        (302, {}),
        (200, {"token_type": "bearer"}),
        (200, {"access_token": 7}),
        (200, {"access_token": "ä"}),
        (200, {"access_token": "t", "token_type": "mac"}),
        (200, {"access_token": "t", "expires_in": "soon"}),
    ],
)
def test_an_answer_that_is_no_token_is_said_without_its_text(server, poll, oauth, answer):
    server.judge = lambda _: answer
    with pytest.raises(BadInputError, match="oauth: no token came") as raised:
        poll(oauth=oauth.model_dump())
    assert CANARY not in str(raised.value)


def test_an_assertion_holds_for_minutes_and_each_has_its_own_number(oauth):
    now = datetime.now(UTC)
    (jwk,) = key_set(oauth)["keys"]
    found = [verified(assertion(oauth, "https://t", now), public_of(jwk)) for _ in range(50)]
    assert len({claims["jti"] for _, claims in found}) == 50
    for header, claims in found:
        assert header == {"typ": "JWT", "alg": jwk["alg"], "kid": jwk["kid"]}
        assert claims["aud"] == "https://t"
        assert (
            timedelta() < datetime.fromtimestamp(claims["exp"], UTC) - now <= timedelta(minutes=5)
        )


def test_the_set_of_keys_holds_nothing_private(oauth):
    (jwk,) = key_set(oauth)["keys"]
    assert set(jwk) in ({"kty", "n", "e", "kid", "use", "alg"},
                        {"kty", "crv", "x", "y", "kid", "use", "alg"})  # fmt: skip
    members = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    print_ = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    assert jwk["kid"] == print_  # RFC 7638
    assert key_set(oauth.model_copy(update={"key_id": "mine"}))["keys"][0]["kid"] == "mine"


@pytest.mark.parametrize("kind", ["rsa", "p384"])
def test_a_key_is_read_in_every_usual_form(tmp_path, kind):
    from tests.signing_keys import jwk

    key = private_key(kind)
    texts = [pem_of(key), pem_of(key, serialization.PrivateFormat.TraditionalOpenSSL),
             json.dumps(jwk(kind, private=True, kid="k"))]  # fmt: skip
    found = []
    for number, text in enumerate(texts):
        path = tmp_path / str(number)
        path.write_text(text)
        oauth = OAuth(client_id="neva", private_key_file=path, key_id="k")
        found.append(key_set(oauth)["keys"])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("content", ["nothing", "{}", "{", "short", "public", "p256", "oct"])
def test_what_cannot_sign_is_refused(tmp_path, content):
    texts = {
        "short": lambda: pem_of(rsa.generate_private_key(65537, 1024)),
        "public": lambda: private_key("p384").public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode(),
        "p256": lambda: pem_of(private_key("p256")),
        "oct": lambda: json.dumps({"kty": "oct", "k": "AAAA"}),
    }  # fmt: skip
    (tmp_path / "key").write_text(texts.get(content, lambda: content)())
    oauth = OAuth(client_id="neva", private_key_file=tmp_path / "key")
    with pytest.raises(BadInputError, match="no private key that can sign"):
        key_set(oauth)
    with pytest.raises(NotFoundError):
        key_set(OAuth(client_id="neva", private_key_file=tmp_path / "absent"))


@pytest.mark.parametrize(
    "written",
    [
        "{client_id: a}",
        "{client_id: a, secret_file: b}",
        "{client_id: a, secret_file: b, private_key_file: c}",
        "{client_id: a, token_url: t, secret_file: b, key_id: c}",
    ],
)
def test_settings_name_one_proof(tmp_path, written):
    (tmp_path / "s.yaml").write_text(f"oauth: {written}\n")
    with pytest.raises(MappingError, match=r"s\.yaml:"):
        read_server_settings(tmp_path / "s.yaml")


def test_the_command_shows_the_key_to_register(neva, hospital, oauth, tmp_path):
    (tmp_path / "ehr.yaml").write_text(
        f"oauth: {{client_id: neva, private_key_file: {oauth.private_key_file}}}\n"
    )
    words = ("feed", "fhir", hospital.path, "--name", "ehr", "--server", "https://ehr.example/fhir",
             "--show-key-set")  # fmt: skip
    done = neva(*words, "--settings", tmp_path / "ehr.yaml")
    assert json.loads(done.out) == key_set(oauth)
    assert "settings name no private key" in neva(*words).err
