"""A client of OpenClaw's gateway protocol, version 4, through the agent server.

The agent server signs the handshake, so nothing here holds a credential of the gateway. It also
wakes the agent for the handshake and for every request, however deep it sleeps: an answer may take
as long as a wake.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from ocmt_common.problems import Problem
from ocmt_common.version import release_version
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from ocmt_management.agents.client import NO_SUCH_AGENT, AgentServer, NoSuchAgent

_CHALLENGE_TIMEOUT_S = 15
_ANSWER_TIMEOUT_S = 180
_RETRIES_FOR_S = 10
_RETRY_S = 0.5


class GatewayRefused(Exception):
    """The gateway answered a request with an error; `str()` is its message."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message") or "The agent refused."))
        self.code = str(error.get("code") or "UNKNOWN")
        self.retryable = bool(error.get("retryable"))
        self.retry_after_s = float(error.get("retryAfterMs") or 0) / 1000


def connection_lost() -> Problem:
    return Problem(503, "connection-lost", "The connection to the agent was lost. Try again.")


class Gateway:
    """One connection. Somebody must iterate over `events` for requests to be answered."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._asked: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._requests = 0
        self.lost = False

    @classmethod
    async def open(cls, server: AgentServer, user_id: str) -> "Gateway":
        """Connect and shake hands, which wakes the agent. Raises `Problem`."""
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
                frame = json.loads(text)
                if frame.get("type") == "res":
                    self._answered(frame)
                elif frame.get("type") == "event" and isinstance(frame.get("payload"), dict):
                    yield str(frame.get("event")), frame["payload"]
        except (ConnectionClosed, ValueError):
            pass
        finally:
            self.lost = True
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_result(None)

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and ask again while the gateway is just coming up.

        Every request made here may safely be made twice. Raises `GatewayRefused` and `Problem`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _RETRIES_FOR_S
        while True:
            try:
                return await self._request(method, params)
            except GatewayRefused as refused:
                if not refused.retryable or loop.time() >= until:
                    raise
                await asyncio.sleep(max(refused.retry_after_s, _RETRY_S))

    async def close(self) -> None:
        await self._socket.close()

    async def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self.lost:
            raise connection_lost()
        self._requests += 1
        request_id = str(self._requests)
        answer = self._asked[request_id] = asyncio.get_running_loop().create_future()
        request = {"type": "req", "id": request_id, "method": method, "params": params}
        try:
            await self._socket.send(json.dumps(request))
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                frame = await answer
        except TimeoutError:
            raise Problem(504, "agent-silent", "The agent does not answer. Try again.") from None
        except ConnectionClosed:
            raise connection_lost() from None
        finally:
            self._asked.pop(request_id, None)
        if frame is None:
            raise connection_lost()
        if not frame.get("ok"):
            raise GatewayRefused(_dict(frame.get("error")))
        return _dict(frame.get("payload"))

    def _answered(self, frame: dict[str, Any]) -> None:
        asked = self._asked.get(str(frame.get("id")))
        if asked is not None and not asked.done():
            asked.set_result(frame)


async def _shake_hands(socket: ClientConnection) -> None:
    try:
        async with asyncio.timeout(_CHALLENGE_TIMEOUT_S):
            await socket.recv()  # the challenge, which the agent server answers
        await socket.send(json.dumps(_CONNECT))
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            hello = json.loads(await socket.recv())
            if hello.get("ok"):
                return
            # The reason follows as the code of the close.
            await socket.wait_closed()
    except TimeoutError:
        raise Problem(504, "agent-silent", "The agent did not wake in time. Try again.") from None
    except (ConnectionClosed, ValueError):
        raise connection_lost() from None
    code = socket.close_reason or "agent-unavailable"
    if code == NO_SUCH_AGENT:
        raise NoSuchAgent
    raise Problem(503, code, str(_dict(hello.get("error")).get("message")), retry_after_s=5)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_CONNECT = {
    "type": "req",
    "id": "connect",
    "method": "connect",
    "params": {
        "minProtocol": 4,
        "maxProtocol": 4,
        # The agent server puts in who connects, with which rights.
        "client": {
            "id": "gateway-client",
            "version": release_version("ocmt-management"),
            "platform": "linux",
            "mode": "backend",
        },
    },
}
