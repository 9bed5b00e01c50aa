"""A client of `/api/chat`, like the page, over a real WebSocket."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]


class Tab:
    """An open chat. `frames` has the received frames that `gets` and `find` have not taken."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, browser: httpx2.AsyncClient, url: str) -> "Tab":
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        return cls(
            await connect(
                f"ws{url.removeprefix('http')}/api/chat",
                additional_headers={"cookie": cookies, "origin": str(browser.base_url).rstrip("/")},
                proxy=None,
                close_timeout=1,
                max_size=None,  # as in browsers
            )
        )

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                self.frames.append(json.loads(text))
                self._more.set()
        except ConnectionClosed:
            pass
        self._more.set()

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def say(self, text: str, message_id: str | None = None) -> str:
        """Send a message. Returns its id, which is also its run's."""
        sent = message_id or str(uuid4())
        await self.send(type="send", id=sent, text=text)
        return sent

    async def gets(self, kind: str, *, within_s: float = 60, **fields: Any) -> Frame:
        """Wait for a frame of this type with these fields, and remove it from `frames`.

        Raises `TimeoutError`, or `AssertionError` if the chat is closed first.
        """

        def fits(frame: Frame) -> bool:
            return frame["type"] == kind and fields.items() <= frame.items()

        return await self.find(fits, within_s=within_s)

    async def find(self, fits: Callable[[Frame], bool], *, within_s: float = 60) -> Frame:
        async with asyncio.timeout(within_s):
            while True:
                for frame in self.frames:
                    if fits(frame):
                        self.frames.remove(frame)
                        return frame
                if self._reading.done():
                    raise AssertionError(f"closed: {self.socket.close_code}, had {self.frames}")
                self._more.clear()
                await self._more.wait()

    async def closed(self) -> int | None:
        """Wait until the socket is closed, and return the close code. Raises `TimeoutError`."""
        async with asyncio.timeout(60):
            await self._reading
        return self.socket.close_code

    async def close(self) -> None:
        await self.socket.close()
        await self._reading
