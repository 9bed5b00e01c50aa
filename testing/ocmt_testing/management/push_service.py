"""A push service, and devices whose browsers decrypt what it passes on.

Decryption follows RFC 8188 and RFC 8291 step by step, without the library that encrypts.
"""

import asyncio
import base64
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocmt_testing.management.serving import Server, serving
from ocmt_testing.tls.self_signed import write_self_signed

_CURVE = ec.SECP256R1()


@dataclass(frozen=True)
class Pushed:
    """A request that the push service took."""

    path: str
    headers: dict[str, str]
    body: bytes


class Device:
    """A browser that subscribed at a push service."""

    def __init__(self, service: str, name: str = "device") -> None:
        self.endpoint = f"{service}/push/{name}"
        self._private = ec.generate_private_key(_CURVE)
        self._auth = os.urandom(16)

    @property
    def _point(self) -> bytes:
        return self._private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )

    def subscription(self, **changes: str) -> dict[str, str]:
        """The body that the page sends."""
        keys = {"publicKey": _text(self._point), "auth": _text(self._auth)}
        return {"endpoint": self.endpoint} | keys | changes

    def read(self, body: bytes) -> dict[str, Any]:
        """Decrypt a message. Raises `cryptography.exceptions.InvalidTag` if it is for another."""
        salt, size = body[:16], int.from_bytes(body[16:20])
        sender, sealed = body[21 : 21 + body[20]], body[21 + body[20] :]
        assert len(sealed) <= size
        shared = self._private.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, sender)
        )
        info = b"WebPush: info\0" + self._point + sender
        secret = _derived(self._auth, shared, info, 32)
        key = _derived(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _derived(salt, secret, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(key).decrypt(nonce, sealed, None)
        content, mark, _ = padded.rpartition(b"\x02")  # the last record
        assert mark
        found: dict[str, Any] = json.loads(content)
        return found


class PushService:
    server: Server

    def __init__(self) -> None:
        self.pushed: asyncio.Queue[Pushed] = asyncio.Queue()
        self.answers: list[Response] = []
        """Answers to the next messages, instead of 201."""
        self.silent: set[str] = set()
        """Names of devices for which no request is answered."""
        self.refused: set[str] = set()
        """Names of devices whose messages are answered with 403."""
        self.waiting = 0
        """The requests that are not answered."""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._take, methods=["POST", "GET"])])

    async def _take(self, request: Request) -> Response:
        self.pushed.put_nowait(
            Pushed(request.url.path, dict(request.headers), await request.body())
        )
        name = request.url.path.rpartition("/")[2]
        if name in self.silent:
            self.waiting += 1
            await asyncio.Event().wait()
        if name in self.refused:
            return Response(status_code=403)
        return self.answers.pop(0) if self.answers else Response(status_code=201)


@asynccontextmanager
async def running_push_service(folder: Path) -> AsyncIterator[PushService]:
    """Run one with a certificate in `folder`, which is trusted meanwhile."""
    service = PushService()
    certificate = write_self_signed(folder / "push.pem")
    trusting = ssl.create_default_context(cafile=certificate)
    with patch("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting):  # made at the import
        async with serving(service.app(), certificate=certificate) as service.server:
            yield service


def signed_claims(authorization: str) -> tuple[dict[str, Any], str]:
    """The claims of a VAPID header, and the key whose signature of them is checked."""
    scheme, _, rest = authorization.partition(" ")
    assert scheme == "vapid"
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    head, claims, signature = parts["t"].split(".")
    assert json.loads(_bytes(head))["alg"] == "ES256"
    raw = _bytes(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, _bytes(parts["k"]))
    key.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    return json.loads(_bytes(claims)), parts["k"]


def _derived(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
