"""A Web Push request: encrypted for one browser (RFC 8291), signed by this server (RFC 8292). Pure.

A push service can read neither kind nor content of a message, whose length is always the same. It
learns when a device of this installation gets one, and how urgent it is.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from joserfc import jwt
from joserfc.jwk import ECKey
from yarl import URL

_CURVE = ec.SECP256R1()
_PLAIN_BYTES = 200
"""All messages are padded to it, so that a message's length does not tell its kind."""
_TOKEN_LIFE = timedelta(hours=12)
"""At most 24 hours (RFC 8292)."""
_TOPIC_CHARACTERS = 32
_RECORD_BYTES = 4096
_LAST_RECORD = b"\x02"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A browser's subscription."""

    endpoint: str
    public_key: bytes
    auth: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """`content` is for the page's service worker, which chooses the words that it shows."""

    content: dict[str, str | int]
    topic: str
    """Of several undelivered messages with the same topic, a push service keeps the last."""
    urgent: bool
    life: timedelta
    """How long a push service keeps it for a device that is off."""


class ServerKey:
    """The key pair with which the server signs (VAPID)."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self._jwk = ECKey.import_key(self.pem())

    @classmethod
    def new(cls) -> "ServerKey":
        return cls(ec.generate_private_key(_CURVE))

    @classmethod
    def load(cls, pem: str) -> "ServerKey":
        """A key that `pem` returned."""
        private = load_pem_private_key(pem.encode(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise TypeError("the stored key is not one of an elliptic curve")
        return cls(private)

    def pem(self) -> str:
        return self._private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode()

    @property
    def public(self) -> str:
        """The public key in base64url."""
        return base64url(point_of(self._private.public_key()))

    def authorization(self, endpoint: str, *, subject: str, now: datetime) -> str:
        """The header for requests to this endpoint's origin; `subject` is whom to contact."""
        claims = {
            "aud": str(URL(endpoint).origin()),
            "exp": int((now + _TOKEN_LIFE).timestamp()),
            "sub": subject,
        }
        token = jwt.encode({"typ": "JWT", "alg": "ES256"}, claims, self._jwk)
        return f"vapid t={token}, k={self.public}"


def headers(message: Message, authorization: str) -> list[tuple[str, str]]:
    return [
        ("Authorization", authorization),
        ("Content-Encoding", "aes128gcm"),
        ("Content-Type", "application/octet-stream"),
        ("TTL", str(int(message.life.total_seconds()))),
        ("Urgency", "high" if message.urgent else "normal"),
        ("Topic", _topic(message.topic)),
    ]


def padded(message: Message) -> bytes:
    """The message as its service worker reads it, in JSON."""
    return json.dumps(message.content, separators=(",", ":")).encode().ljust(_PLAIN_BYTES)


def encrypted(
    plain: bytes,
    recipient: Recipient,
    *,
    salt: bytes,
    one_time_key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """The request's body: `plain` as one record of `aes128gcm` (RFC 8291, section 4).

    Written out, since the libraries for it (`http-ece`, below `pywebpush`) have no wheels, and
    releases are installed from wheels only. Raises `ValueError` if the recipient's key is not on
    the curve.
    """
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, recipient.public_key)
    ours = point_of(one_time_key.public_key())
    shared = one_time_key.exchange(ec.ECDH(), theirs)
    info = b"WebPush: info\0" + recipient.public_key + ours
    secret = _derived(shared, salt=recipient.auth, info=info, length=32)
    key = _derived(secret, salt=salt, info=b"Content-Encoding: aes128gcm\0", length=16)
    nonce = _derived(secret, salt=salt, info=b"Content-Encoding: nonce\0", length=12)
    sealed = AESGCM(key).encrypt(nonce, plain + _LAST_RECORD, None)
    head = salt + _RECORD_BYTES.to_bytes(4) + bytes([len(ours)]) + ours
    return head + sealed


def for_recipient(message: Message, recipient: Recipient) -> bytes:
    """The request's body, under a key and a salt of its own."""
    return encrypted(
        padded(message),
        recipient,
        salt=os.urandom(16),
        one_time_key=ec.generate_private_key(_CURVE),
    )


def is_on_curve(public_key: bytes) -> bool:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public_key)
    except ValueError:
        return False
    return True


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point_of(public_key: ec.EllipticCurvePublicKey) -> bytes:
    return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derived(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def _topic(topic: str) -> str:
    """Hashed, since the push service reads it."""
    return base64url(hashlib.sha256(topic.encode()).digest())[:_TOPIC_CHARACTERS]
