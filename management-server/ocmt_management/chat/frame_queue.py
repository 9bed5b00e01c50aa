"""Frames on their way to a browser, bounded: a slow one must not fill our memory."""

import asyncio
import json
from collections import deque

from ocmt_management.chat.frames import Frame

MOST_BYTES = 8 * 1024 * 1024


class TooSlow(Exception):
    """The browser takes frames more slowly than they come, by more than we keep."""


class Outbox:
    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._waiting: deque[str] = deque()
        self._bytes = 0
        self._most_bytes = most_bytes
        self._something = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Queue a frame. Raises `TooSlow`."""
        text = json.dumps(frame, separators=(",", ":"))
        self._bytes += len(text)
        if self._bytes > self._most_bytes:
            raise TooSlow
        self._waiting.append(text)
        self._something.set()

    async def take(self) -> str:
        """The next frame's text, once there is one."""
        while not self._waiting:
            self._something.clear()
            await self._something.wait()
        text = self._waiting.popleft()
        self._bytes -= len(text)
        return text
