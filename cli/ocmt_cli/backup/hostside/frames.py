"""Frames that carry the agents' archives in order over one pipe between a host and this machine.

A frame is its kind (one byte), its length (four bytes, big-endian) and that many bytes. An archive
is BEGIN (JSON), DATA…, END (JSON). LAST follows the last archive, to detect a broken pipe.
"""

import io
import json
import struct
from collections.abc import Iterator
from typing import IO, Any

BEGIN, DATA, END, LAST = b"b", b"d", b"e", b"z"
_HEAD = struct.Struct(">cI")
_BLOCK = 1 << 18
_MAX_FRAME = 1 << 24


class BadFrame(Exception):
    """The frames are malformed or truncated."""


def framed(kind: bytes, payload: bytes = b"") -> bytes:
    return _HEAD.pack(kind, len(payload)) + payload


def send(out: IO[bytes], kind: bytes, payload: bytes = b"") -> None:
    out.write(framed(kind, payload))


def send_json(out: IO[bytes], kind: bytes, value: Any) -> None:
    send(out, kind, json.dumps(value).encode())


def received(source: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """`(kind, payload)` of each frame before LAST. Raises `BadFrame`, also if LAST is missing."""
    while True:
        head = source.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise BadFrame("it is truncated" if not head else f"it ends in {head!a}")
        kind, length = _HEAD.unpack(head)
        if kind not in (BEGIN, DATA, END, LAST) or length > _MAX_FRAME:
            raise BadFrame(f"it contains {head + source.read(100)!a}")
        payload = source.read(length)
        if len(payload) < length:
            raise BadFrame("it is truncated")
        if kind == LAST:
            return
        yield kind, payload


class DataWriter(io.RawIOBase):
    """A file that sends written data as DATA frames; `close` sends the rest."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._kept += data
        if len(self._kept) >= _BLOCK:
            self._send()
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._send()
        super().close()

    def _send(self) -> None:
        kept, self._kept = bytes(self._kept), bytearray()
        if kept:
            send(self._out, DATA, kept)


class DataReader(io.RawIOBase):
    """A file that reads the content of one archive's DATA frames, up to its END."""

    def __init__(self, frames: Iterator[tuple[bytes, bytes]]) -> None:
        self._frames = frames
        self._left = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._ended:
            kind, payload = next(self._frames, (END, b""))
            self._left, self._ended = payload if kind == DATA else b"", kind != DATA
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
