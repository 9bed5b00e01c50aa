"""A double of OpenClaw's gateway: protocol 4, pairing, chat, suspension, probes.

It checks connecting clients as strictly as the real gateway, and its `hello-ok` has the credentials
that must not pass the proxy. The contract tests run the same cases against both.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import WSMsgType, web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from ocmt_agent.runtime.base import Endpoint

Frame = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REPLY = ("Hello", " from", " the", " model.")


class GatewayDouble:
    """Records its calls. `drop` ends it like a crash, `stop` like a shutdown."""

    def __init__(self, *, token: str, auto_pair: bool = False) -> None:
        self.token = token
        self.auto_pair = auto_pair
        self.paired: dict[str, Frame] = {}
        self.pending: dict[str, Frame] = {}
        self.calls: list[str] = []
        """Every method called over a socket after the handshake."""
        self.handshakes = 0
        self.approvals = 0
        self.refuse_connects = 0
        """How many more handshakes to answer with UNAVAILABLE, as during start-up."""
        self.suspension: str | None = None
        self.sockets: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self.connected: set[web.WebSocketResponse] = set()
        """Clients that completed the handshake."""
        self.runs: dict[str, asyncio.Task[None]] = {}
        self.closed_with: list[int] = []
        """Close codes of clients' sockets."""
        self.history: list[Frame] = []
        self.hold = asyncio.Event()
        """While cleared, a run waits after its first delta for `chat.abort` or a release."""
        self.hold.set()
        self.credentials = {name: secrets.token_urlsafe(24) for name in ("device", "recovery")}

    # HTTP

    def application(self, *, extra: dict[str, Handler]) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/healthz", self._probe)
        app.router.add_get("/startupz", self._probe)
        app.router.add_post("/api/v1/admin/rpc", self._admin)
        for path, handler in extra.items():
            app.router.add_route("*", path, handler)
        app.router.add_get("/", self._socket)
        app.on_cleanup.append(self._end_runs)
        return app

    async def _end_runs(self, _: web.Application) -> None:
        for task in self.runs.values():
            task.cancel()
        await asyncio.gather(*self.runs.values(), return_exceptions=True)

    async def _probe(self, _: web.Request) -> web.Response:
        return web.json_response({"ok": True, "status": "live"})

    async def _admin(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            error = {"message": "Unauthorized", "type": "unauthorized"}
            return web.json_response({"error": error}, status=401)
        body = await request.json()
        ok, payload = self.administer(body["method"], body.get("params") or {})
        answer: Frame = {"id": secrets.token_hex(8), "ok": ok}
        answer["payload" if ok else "error"] = payload
        return web.json_response(answer, status=200 if ok else 400)

    def administer(self, method: str, params: Frame) -> tuple[bool, Frame]:  # noqa: PLR0911
        match method:
            case "health":
                return True, {"ok": True}
            case "device.pair.list":
                return True, {
                    "pending": list(self.pending.values()),
                    "paired": list(self.paired.values()),
                }
            case "device.pair.approve":
                request = self.pending.pop(str(params.get("requestId")), None)
                if request is None:
                    return False, _invalid("unknown requestId")
                self.approvals += 1
                self.paired[request["deviceId"]] = request
                return True, {"requestId": request["requestId"], "device": request}
            case "gateway.suspend.prepare":
                self.suspension = self.suspension or secrets.token_hex(8)
                return True, {
                    "status": "ready",
                    "suspensionId": self.suspension,
                    "expiresAtMs": _now_ms() + 120_000,
                    "activeCount": 0,
                    "blockers": [],
                }
            case "gateway.suspend.resume":
                if self.suspension not in (None, params.get("suspensionId")):
                    return False, _invalid("gateway suspension id does not match")
                resumed, self.suspension = self.suspension is not None, None
                return True, {"ok": True, "resumed": resumed}
        return False, _invalid(f"admin HTTP RPC method is not supported: {method}")

    # The socket

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=26_214_400, timeout=1)
        if not socket.can_prepare(request).ok:
            return web.Response(status=404, text="Not Found")
        await socket.prepare(request)
        assert request.transport is not None
        self.sockets[socket] = request.transport
        try:
            await _Client(self, socket).run()
        finally:
            del self.sockets[socket]
            self.connected.discard(socket)
        return socket

    async def broadcast(self, event: str, payload: Frame) -> None:
        for socket in list(self.connected):
            with suppress(ConnectionError):  # just closed
                await socket.send_str(
                    _compact({"type": "event", "event": event, "payload": payload})
                )

    # The conversation

    def send(self, run_id: str, text: str) -> Frame:
        """Start a run, which continues even without clients. Each id runs only once."""
        if run_id in self.runs:
            ended = self.runs[run_id].done()
            return {"runId": run_id, "status": "ok" if ended else "in_flight"}
        said = {"role": "user", "content": text, "idempotencyKey": f"{run_id}:user"}
        self._remember(said, {})
        self.runs[run_id] = asyncio.create_task(self._answer(run_id))
        return {"runId": run_id, "status": "started"}

    async def abort(self) -> Frame:
        running = [run_id for run_id, task in self.runs.items() if not task.done()]
        for run_id in running:
            self.runs[run_id].cancel()
            await self._chat(run_id, {"state": "aborted"})
        return {"ok": True, "aborted": bool(running), "runIds": running}

    async def _answer(self, run_id: str) -> None:
        text = ""
        for part in REPLY:
            text += part
            await self._chat(run_id, {"state": "delta", "deltaText": part})
            await self.hold.wait()
        message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        self._remember(message, {"runId": run_id})
        await self._chat(run_id, {"state": "final", "stopReason": "stop", "message": message})

    def _remember(self, row: Frame, about: Frame) -> None:
        about = about | {"id": secrets.token_hex(8)}
        self.history.append(row | {"timestamp": _now_ms(), "__openclaw": about})

    async def _chat(self, run_id: str, payload: Frame) -> None:
        about = {"runId": run_id, "sessionKey": "agent:main:main"}
        await self.broadcast("chat", about | payload)

    async def stop(self) -> None:
        """Shut down like OpenClaw: send an event, then close every socket with code 1012."""
        await self.broadcast("shutdown", {"reason": "gateway stopping"})
        for socket in list(self.sockets):
            await socket.close(code=1012, message=b"service restart")

    async def close_sockets(self, code: int, reason: str) -> None:
        for socket in list(self.sockets):
            await socket.close(code=code, message=reason.encode())

    def drop(self) -> None:
        """Abort all connections, like SIGKILL."""
        for transport in list(self.sockets.values()):
            transport.abort()


class _Client:
    def __init__(self, gateway: GatewayDouble, socket: web.WebSocketResponse) -> None:
        self.gateway = gateway
        self.socket = socket
        self.scopes: set[str] = set()

    async def run(self) -> None:
        nonce, at_ms = secrets.token_urlsafe(18), _now_ms()
        await self._event("connect.challenge", {"nonce": nonce, "ts": at_ms})
        try:
            if await self._connect(nonce, at_ms):
                await self._serve()
        except (ConnectionError, TypeError):
            pass  # the client disconnected

    async def _connect(self, nonce: str, at_ms: int) -> bool:
        frame = await self.socket.receive_json()
        params = frame.get("params") or {}
        error = self._fault(frame.get("method"), params, nonce, at_ms)
        if error is not None:
            await self._send({"type": "res", "id": frame["id"], "ok": False, "error": error})
            await self.socket.close(code=1008, message=str(error["message"]).encode())
            return False
        self.gateway.handshakes += 1
        self.scopes = set(params["scopes"])
        hello = {
            "type": "hello-ok",
            "protocol": 4,
            "server": {"version": "2026.9.6", "connId": secrets.token_hex(8)},
            "features": {"methods": ["chat.send"], "events": ["chat", "shutdown"]},
            "snapshot": {"sessionDefaults": {"mainSessionKey": "agent:main:main"}},
            "pluginSurfaceUrls": {"canvas": f"http://gateway/cap/{secrets.token_hex(8)}"},
            "auth": {
                "role": params["role"],
                "scopes": params["scopes"],
                "deviceToken": self.gateway.credentials["device"],
                "recoveryScope": self.gateway.credentials["recovery"],
            },
            "policy": {"maxPayload": 26_214_400, "tickIntervalMs": 30_000},
        }
        await self._send({"type": "res", "id": frame["id"], "ok": True, "payload": hello})
        self.gateway.connected.add(self.socket)
        return True

    def _fault(self, method: object, params: Frame, nonce: str, at_ms: int) -> Frame | None:
        if method != "connect":
            return _invalid("invalid handshake: first request must be connect")
        if not params["minProtocol"] <= 4 <= params["maxProtocol"]:
            return _invalid("protocol mismatch", code="PROTOCOL_MISMATCH")
        if not isinstance(params.get("caps", []), list):
            return _invalid("invalid connect params: at /caps: must be array")
        if self.gateway.refuse_connects:
            self.gateway.refuse_connects -= 1
            return {
                "code": "UNAVAILABLE",
                "message": "gateway is starting",
                "retryable": True,
                "retryAfterMs": 500,
                "details": {"reason": "startup-sidecars"},
            }
        return self._stranger(params, nonce, at_ms)

    def _stranger(self, params: Frame, nonce: str, at_ms: int) -> Frame | None:
        """The error for a client whose device or token is rejected; `None` if they are accepted."""
        device, token = params["device"], params["auth"].get("token")
        if device["nonce"] != nonce:
            return _invalid("device nonce mismatch", code="DEVICE_AUTH_NONCE_MISMATCH")
        if abs(device["signedAt"] - at_ms) > 60_000:
            return _invalid("device signature expired", code="DEVICE_AUTH_SIGNATURE_EXPIRED")
        if not self._signed(params):
            return _invalid("device signature invalid", code="DEVICE_AUTH_SIGNATURE_INVALID")
        if token != self.gateway.token:
            return _invalid("unauthorized", code="AUTH_TOKEN_MISMATCH")
        return None if self._is_paired(params) else self._unpaired(params)

    def _signed(self, params: Frame) -> bool:
        device, client = params["device"], params["client"]
        raw = _unbase64(device["publicKey"])
        if hashlib.sha256(raw).hexdigest() != device["id"]:
            return False
        text = "|".join(
            [
                "v3",
                device["id"],
                client["id"],
                client["mode"],
                params["role"],
                ",".join(params["scopes"]),
                str(device["signedAt"]),
                params["auth"]["token"],
                device["nonce"],
                client["platform"],
                client.get("deviceFamily", ""),
            ]
        )
        try:
            Ed25519PublicKey.from_public_bytes(raw).verify(
                _unbase64(device["signature"]), text.encode()
            )
        except InvalidSignature:
            return False
        return True

    def _is_paired(self, params: Frame) -> bool:
        known = self.gateway.paired.get(params["device"]["id"])
        granted = set(known["scopes"]) if known else set()
        return self.gateway.auto_pair or set(params["scopes"]) <= granted

    def _unpaired(self, params: Frame) -> Frame:
        device_id = params["device"]["id"]
        request = next(
            (r for r in self.gateway.pending.values() if r["deviceId"] == device_id), None
        ) or {
            "requestId": secrets.token_hex(16),
            "deviceId": device_id,
            "publicKey": params["device"]["publicKey"],
            "role": params["role"],
            "scopes": params["scopes"],
        }
        self.gateway.pending[request["requestId"]] = request
        return {
            "code": "NOT_PAIRED",
            "message": "pairing required: device is not approved yet",
            "details": {"code": "PAIRING_REQUIRED", "requestId": request["requestId"]},
        }

    async def _serve(self) -> None:
        async for message in self.socket:
            if message.type is not WSMsgType.TEXT:
                break
            try:
                frame = json.loads(message.data)
            except (ValueError, RecursionError):
                await self.socket.close(code=1008, message=b"invalid frame")
                break
            self.gateway.calls.append(frame["method"])
            ok, payload = await self._call(frame["method"], frame.get("params") or {})
            answer = {"type": "res", "id": frame["id"], "ok": ok}
            await self._send(answer | {"payload" if ok else "error": payload})
        if self.socket.close_code is not None:
            self.gateway.closed_with.append(self.socket.close_code)

    async def _call(self, method: str, params: Frame) -> tuple[bool, Frame]:  # noqa: PLR0911
        gateway = self.gateway
        match method:
            case "chat.send" if gateway.suspension is not None:
                return False, {
                    "code": "UNAVAILABLE",
                    "message": "chat.send unavailable during gateway suspension",
                    "retryable": True,
                    "retryAfterMs": 1000,
                }
            case "chat.send":
                return True, gateway.send(params["idempotencyKey"], params["message"])
            case "chat.history":
                messages = gateway.history[-int(params.get("limit", 100)) :]
                return True, {"sessionKey": params["sessionKey"], "messages": messages}
            case "sessions.messages.subscribe":
                return True, {"subscribed": True, "key": params["key"]}
            case "chat.abort":
                return True, await gateway.abort()
            case "never.answered":
                await asyncio.Event().wait()
            case "gateway.suspend.prepare" | "gateway.suspend.resume" if (
                "operator.admin" in self.scopes
            ):
                return gateway.administer(method, params)
        error = {"code": "MISSING_SCOPE", "missingScope": "operator.admin"}
        return False, {
            "code": "FORBIDDEN",
            "message": "missing scope: operator.admin",
            "details": error,
        }

    async def _event(self, name: str, payload: Frame) -> None:
        await self._send({"type": "event", "event": name, "payload": payload})

    async def _send(self, frame: Frame) -> None:
        await self.socket.send_str(_compact(frame))


@asynccontextmanager
async def gateway_double(
    *,
    token: str,
    auto_pair: bool = False,
    port: int = 0,
    extra: dict[str, Handler] | None = None,
) -> AsyncIterator[tuple[GatewayDouble, Endpoint]]:
    """Serve a double on loopback; `extra` adds HTTP handlers by path."""
    double = GatewayDouble(token=token, auto_pair=auto_pair)
    runner = web.AppRunner(double.application(extra=extra or {}), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    try:
        yield double, Endpoint("127.0.0.1", runner.addresses[0][1])
    finally:
        double.drop()
        await runner.cleanup()


def _invalid(message: str, *, code: str | None = None) -> Frame:
    details = {} if code is None else {"details": {"code": code}}
    return {"code": "INVALID_REQUEST", "message": message, **details}


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _compact(frame: Frame) -> str:
    return json.dumps(frame, separators=(",", ":"))
