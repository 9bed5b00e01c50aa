"""A client of the proxy's socket, like management. Records all received text."""

import asyncio
import json
from typing import Any

import aiohttp
from aiohttp import WSMsgType

Frame = dict[str, Any]
LIMIT_S = 60


class Caller:
    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, *, limit_s: float = LIMIT_S
    ) -> None:
        self.socket = socket
        self.limit_s = limit_s
        self.seen = ""

    async def next(self) -> Frame:
        async with asyncio.timeout(self.limit_s):
            message = await self.socket.receive()
        assert message.type is WSMsgType.TEXT, message
        self.seen += message.data
        frame: Frame = json.loads(message.data)
        return frame

    async def until(self, **wanted: object) -> Frame:
        while True:
            frame = await self.next()
            if wanted.items() <= frame.items():
                return frame

    async def end(self) -> tuple[int | None, str | None]:
        async with asyncio.timeout(self.limit_s):
            message = await self.socket.receive()
        assert message.type is WSMsgType.CLOSE, message
        return message.data, message.extra

    async def send(self, method: str, request: str, **params: object) -> None:
        await self.socket.send_json(
            {"type": "req", "id": request, "method": method, "params": params}
        )

    async def ask(self, method: str, request: str, **params: object) -> Frame:
        await self.send(method, request, **params)
        return await self.until(type="res", id=request)

    async def introduce(self) -> Frame:
        assert (await self.next())["event"] == "connect.challenge"
        return await self.ask("connect", "c", auth={"token": "theirs"}, role="node")

    async def say(self, text: str, run: str) -> str:
        """Send a chat message and return the agent's complete answer."""
        sent = await self.ask("chat.send", run, sessionKey="main", message=text, idempotencyKey=run)
        assert sent["payload"] == {"runId": run, "status": "started"}, sent
        heard = ""
        while True:
            payload = (await self.until(event="chat"))["payload"]
            if payload["runId"] != run:
                continue
            if payload["state"] == "delta":
                heard += payload["deltaText"]
            elif payload["state"] != "status":
                assert payload["state"] == "final", payload
                assert payload["message"]["content"] == [{"type": "text", "text": heard}]
                return heard
