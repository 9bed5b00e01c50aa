"""A client of OpenClaw's gateway protocol, version 4, through the agent server.

The agent server signs the handshake, so this server holds no gateway credential. It also wakes the
agent for every request, so a response may take as long as a wake.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from msgspec import Raw
from ocmt_common import bounded_json, gateway_frames
from ocmt_common.bounded_json import NotJson, TooComplex
from ocmt_common.gateway_frames import PROTOCOL, as_object
from ocmt_common.problems import Problem
from ocmt_common.version import release_version
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ocmt_management.agents.client import NO_SUCH_AGENT, AgentServer, NoSuchAgent

log = structlog.get_logger(__name__)

_CHALLENGE_TIMEOUT_S = 15
_ANSWER_TIMEOUT_S = 180
_RETRIES_FOR_S = 10
_RETRY_S = 0.5
_TOO_LARGE = "The agent's answer is too large to show here."


class GatewayError(Exception):
    """The gateway answered a request with an error; `str()` is its message."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message") or "The agent refused the request."))
        self.code = str(error.get("code") or "UNKNOWN")
        self.retryable = bool(error.get("retryable"))
        retry_ms = error.get("retryAfterMs")
        wait_ms = retry_ms if isinstance(retry_ms, int | float) else 0
        self.retry_after_s = min(max(wait_ms, _RETRY_S * 1000), _RETRIES_FOR_S * 1000) / 1000


@dataclass(frozen=True, slots=True)
class FileInPieces:
    """A file to send with a message; its base64 in pieces, which hold no other characters."""

    name: str
    type: str
    pieces: Sequence[str]


def connection_lost() -> Problem:
    return Problem(503, "connection-lost", "The connection to the agent was lost. Try again.")


class Gateway:
    """One connection to a gateway. Requests are answered only while `events` is being iterated."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._pending: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._requests = 0
        self.lost = False

    @classmethod
    async def open(cls, server: AgentServer, user_id: str) -> "Gateway":
        """Connect and complete the handshake, which wakes the agent. Raises `Problem`."""
        socket = await server.open_gateway(user_id)
        try:
            await _shake_hands(socket)
        except BaseException:
            await socket.close()
            raise
        return cls(socket)

    async def events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """`(name, payload)` of each event until the connection ends."""
        try:
            async for text in self._socket:
                frame = bounded_json.members(text)
                kind = _read(frame, "type")
                if kind == "res":
                    self._resolve(frame)
                elif kind == "event" and (payload := _payload(frame)) is not None:
                    yield str(_read(frame, "event")), payload
        except ConnectionClosed:
            pass
        except NotJson as error:
            log.warning("gateway frame is not valid", reason=str(error))
        finally:
            self.lost = True
            for future in self._pending.values():
                if not future.done():
                    future.set_result(None)

    async def request(
        self, method: str, *, files: Sequence[FileInPieces] = (), **params: Any
    ) -> dict[str, Any]:
        """Send a request; retry for up to 10 s while the gateway answers with a retryable error.

        All requests sent here are idempotent. Raises `GatewayError` and `Problem`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _RETRIES_FOR_S
        while True:
            try:
                return await self._request(method, params, files)
            except GatewayError as error:
                if not error.retryable or loop.time() >= until:
                    raise
                await asyncio.sleep(error.retry_after_s)

    async def close(self) -> None:
        await self._socket.close()

    async def _request(
        self, method: str, params: dict[str, Any], files: Sequence[FileInPieces]
    ) -> dict[str, Any]:
        if self.lost:
            raise connection_lost()
        self._requests += 1
        request_id = str(self._requests)
        answer = self._pending[request_id] = asyncio.get_running_loop().create_future()
        try:
            frame_text = gateway_frames.request(request_id, method, params)
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._socket.send(_with_files(frame_text, files) if files else frame_text)
                frame = await answer
        except TimeoutError:
            raise Problem(504, "agent-silent", "The agent does not answer. Try again.") from None
        except ConnectionClosed:
            raise connection_lost() from None
        finally:
            self._pending.pop(request_id, None)
        if frame is None:
            raise connection_lost()
        if not frame.get("ok"):
            raise GatewayError(as_object(frame.get("error")))
        return as_object(frame.get("payload"))

    def _resolve(self, frame: dict[str, Raw]) -> None:
        future = self._pending.get(str(_read(frame, "id")))
        if future is None or future.done():
            return
        try:
            future.set_result({name: bounded_json.read(raw) for name, raw in frame.items()})
        except TooComplex:
            future.set_result({"ok": False, "error": {"message": _TOO_LARGE}})


async def _shake_hands(socket: ClientConnection) -> None:
    try:
        async with asyncio.timeout(_CHALLENGE_TIMEOUT_S):
            await socket.recv()  # the challenge, which the agent server answers
        await socket.send(_CONNECT)
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            hello = as_object(bounded_json.read(await socket.recv()))
            if hello.get("ok"):
                return
            # The reason follows as the close reason.
            await socket.wait_closed()
    except TimeoutError:
        raise Problem(504, "agent-silent", "The agent did not wake in time. Try again.") from None
    except (ConnectionClosed, NotJson):
        raise connection_lost() from None
    code = socket.close_reason or "agent-unavailable"
    if code == NO_SUCH_AGENT:
        raise NoSuchAgent
    said = as_object(hello.get("error")).get("message")
    raise Problem(
        503, code, str(said or "The agent cannot be reached now. Try again."), retry_after_s=5
    )


def _with_files(request: str, files: Sequence[FileInPieces]) -> Iterator[str]:
    """The fragments of a `chat.send` with attachments, without joining the files' pieces."""
    yield request[:-2] + ',"attachments":['
    for number, file in enumerate(files):
        yield "," if number else ""
        described = json.dumps({"fileName": file.name, "mimeType": file.type, "content": ""})
        yield described[:-2]
        yield from file.pieces
        yield '"}'
    yield "]}}"


def _read(frame: dict[str, Raw], name: str) -> Any:
    return bounded_json.read(frame[name]) if name in frame else None


def _payload(frame: dict[str, Raw]) -> dict[str, Any] | None:
    """The payload of an event; `None` if it is missing, not an object or too complex to parse."""
    try:
        payload = _read(frame, "payload")
    except TooComplex as error:
        log.warning("gateway event skipped", reason=str(error))
        return None
    return payload if isinstance(payload, dict) else None


_CONNECT = gateway_frames.request(
    "connect",
    "connect",
    {
        "minProtocol": PROTOCOL,
        "maxProtocol": PROTOCOL,
        # The agent server adds the device and its scopes.
        "client": gateway_frames.client(release_version("ocmt-management")),
    },
)
