"""A bounded queue of frames to one browser, so that a slow browser cannot fill memory."""

import asyncio
import json
from collections import deque

from ocmt_management.chat.frames import Frame

MAX_BYTES = 8 * 1024 * 1024


class TooSlow(Exception):
    """The browser receives frames too slowly: the queue is full."""


class FrameQueue:
    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._frames: deque[str] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._filled = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Queue a frame. Raises `TooSlow` if the queue is full; then close the socket."""
        text = json.dumps(frame, separators=(",", ":"))
        self._bytes += len(text)
        if self._bytes > self._max_bytes:
            raise TooSlow
        self._frames.append(text)
        self._filled.set()

    async def take(self) -> str:
        """Wait for the next frame; returns its JSON."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        text = self._frames.popleft()
        self._bytes -= len(text)
        return text
