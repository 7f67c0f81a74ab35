"""Key pairs and tokens for tests, made once; signed by hand so that they can be wrong."""

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

ALGORITHM_BY_KEY = {
    "rsa": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "p256": ("ES256",),
    "p384": ("ES384",),
    "p521": ("ES512",),
    "ed25519": ("EdDSA",),
    "ed448": ("EdDSA",),
}


def private_key(kind: str, number: int = 0) -> Any:
    # A cache tells f("a") and f("a", 0) apart; these must be one key.
    return _made(kind, number)


@cache
def _made(kind: str, number: int) -> Any:
    makers = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
    }
    return makers[kind]()


def jwk(kind: str, *, kid: str | None = None, private: bool = False, number: int = 0) -> dict:
    key = private_key(kind, number)
    writer = {"rsa": RSAAlgorithm, "p": ECAlgorithm, "e": OKPAlgorithm}[
        kind if kind == "rsa" else kind[0]
    ]
    content = writer.to_jwk(key if private else key.public_key(), as_dict=True)
    content.pop("key_ops", None)
    return content | {"kid": kid or kind}


def encoded(data: bytes | dict | list | str) -> str:
    if not isinstance(data, (bytes, str)):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, claims: Any, kind: str = "p384", *, number: int = 0, by: str = "") -> str:
    """A token; `by` is the algorithm that really signs, if not the header's."""
    content = f"{encoded(header)}.{encoded(claims)}"
    algorithm = get_default_algorithms()[by or header["alg"]]
    signature = algorithm.sign(content.encode(), private_key(kind, number))
    return f"{content}.{encoded(signature)}"


def with_hmac(header: Any, claims: Any, secret: bytes) -> str:
    content = f"{encoded(header)}.{encoded(claims)}"
    return f"{content}.{encoded(hmac.new(secret, content.encode(), hashlib.sha256).digest())}"
