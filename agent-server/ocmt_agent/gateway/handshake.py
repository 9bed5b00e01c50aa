"""OpenClaw's WebSocket handshake (protocol 4), as the gateway's paired device.

Sources: OpenClaw's pages `gateway/protocol/handshake.md` and `auth.md`. The format of the signed
text has a version (`v3`); contract tests check it against the pinned release.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from ocmt_common import bounded_json, gateway_frames
from ocmt_common.gateway_frames import CHALLENGE, PROTOCOL, as_object

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayUnreachable

ROLE = "operator"
SCOPES = ("operator.read", "operator.write", "operator.approvals")
"""The scopes of a user's socket to their own agent; never `operator.admin`."""

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""Limit on a gateway's frames, which may hold a whole history."""

_CLIENT = gateway_frames.client("1")
_ANSWER_WITHIN_S = 20
# A frozen gateway does not answer a close frame: do not wait long for it.
_FAREWELL = aiohttp.ClientWSTimeout(ws_close=1.0)
# `hello-ok` also has a device token, a recovery secret, and URLs that contain capabilities.
_HELLO_FOR_CALLERS = ("type", "protocol", "server", "features", "snapshot", "policy")


@dataclass(frozen=True, slots=True)
class Link:
    """An open, authorised socket to a gateway."""

    socket: aiohttp.ClientWebSocketResponse
    access: GatewayAccess
    hello: dict[str, Any]
    """The gateway's `hello-ok` payload, without its credentials."""
    under_way: set[str] = field(default_factory=set)
    """Ids of requests sent over the socket that have no answer yet."""


class HandshakeRefused(Exception):
    """The gateway refused the handshake. `code` is OpenClaw's, such as `NOT_PAIRED`."""

    def __init__(self, said: object) -> None:
        error = as_object(said)
        self.code = str(error.get("code", "UNKNOWN"))
        self.reason = str(as_object(error.get("details")).get("code") or self.code)
        super().__init__(f"{self.code}: {error.get('message', 'no message')}")

    @property
    def passing(self) -> bool:
        """Whether to retry: while it starts, a gateway accepts calls before sockets."""
        return self.code == "UNAVAILABLE"

    @property
    def not_paired(self) -> bool:
        return not {self.code, self.reason}.isdisjoint({"NOT_PAIRED", "PAIRING_REQUIRED"})


async def connect(
    session: aiohttp.ClientSession,
    access: GatewayAccess,
    *,
    caller_params: dict[str, Any],
    scopes: Sequence[str] = SCOPES,
) -> Link:
    """Open a socket and complete the handshake.

    Raises `HandshakeRefused`, or `GatewayUnreachable` if there is no valid answer within 20 s.
    """
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            socket = await session.ws_connect(
                access.endpoint.url,
                max_msg_size=MAX_FRAME_BYTES,
                heartbeat=None,  # a frozen gateway answers no ping, but is still there
                timeout=_FAREWELL,
            )
            try:
                hello = await _shake_hands(socket, access, caller_params, scopes)
            except BaseException:
                await socket.close()
                raise
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise GatewayUnreachable(f"the gateway's socket does not open: {reason}") from error
    return Link(socket, access, hello)


async def _shake_hands(
    socket: aiohttp.ClientWebSocketResponse,
    access: GatewayAccess,
    caller_params: dict[str, Any],
    scopes: Sequence[str],
) -> dict[str, Any]:
    challenge = await _next(socket)
    while challenge.get("event") != CHALLENGE:
        challenge = await _next(socket)
    payload = as_object(challenge.get("payload"))
    signed_at_ms = payload.get("ts")
    if not isinstance(signed_at_ms, int | float):
        raise ValueError("the gateway's challenge has no timestamp")
    params = connect_params(
        access,
        caller_params,
        scopes=scopes,
        nonce=str(payload.get("nonce")),
        signed_at_ms=int(signed_at_ms),
    )
    await socket.send_str(gateway_frames.request("connect", "connect", params))
    answer = await _next(socket)
    while answer.get("type") != "res":
        answer = await _next(socket)
    if answer.get("ok") is not True:
        raise HandshakeRefused(answer.get("error"))
    return hello_for_callers(as_object(answer.get("payload")))


def connect_params(
    access: GatewayAccess,
    caller_params: dict[str, Any],
    *,
    scopes: Sequence[str] = SCOPES,
    nonce: str,
    signed_at_ms: int,
) -> dict[str, Any]:
    """The parameters of `connect`: the caller's harmless ones, and our signed identity."""
    token = str(access.gateway_token)
    signed = "|".join(
        [
            "v3",
            access.device.device_id,
            _CLIENT["id"],
            _CLIENT["mode"],
            ROLE,
            ",".join(scopes),
            str(signed_at_ms),
            token,
            nonce,
            _CLIENT["platform"],
            "",  # device family: none
        ]
    )
    return {
        **_harmless(caller_params),
        "minProtocol": PROTOCOL,
        "maxProtocol": PROTOCOL,
        "client": _CLIENT,
        "role": ROLE,
        "scopes": list(scopes),
        "auth": {"token": token},
        "device": {
            "id": access.device.device_id,
            "publicKey": access.device.public_key,
            "signature": access.device.sign(signed),
            "signedAt": signed_at_ms,
            "nonce": nonce,
        },
    }


def _harmless(caller_params: dict[str, Any]) -> dict[str, Any]:
    """The parameters that a caller may set; identity and scopes are not among them."""
    kept: dict[str, Any] = {}
    for name in ("locale", "userAgent"):
        if isinstance(caller_params.get(name), str):
            kept[name] = caller_params[name]
    caps = caller_params.get("caps")
    if isinstance(caps, list) and all(isinstance(cap, str) for cap in caps):
        kept["caps"] = caps
    return kept


def hello_for_callers(hello: dict[str, Any]) -> dict[str, Any]:
    """A `hello-ok` payload without anything that gives direct access to the gateway."""
    kept = {name: hello[name] for name in _HELLO_FOR_CALLERS if name in hello}
    granted = as_object(hello.get("auth"))
    return kept | {"auth": {"role": granted.get("role"), "scopes": granted.get("scopes")}}


async def _next(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise OSError(f"the gateway closed the socket (code {socket.close_code})")
    frame = bounded_json.read(message.data)
    if not isinstance(frame, dict):
        raise ValueError("the gateway sent an invalid frame")
    return frame
