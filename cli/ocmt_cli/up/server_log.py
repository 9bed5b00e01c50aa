"""Reads a server's output: all lines go to a bounded file, important ones to the operator.

The output is read even if the file or the terminal fails, since a server with a full pipe blocks.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

_MAX_BYTES = 5_000_000
_KEPT_FILES = 3
_MAX_LINE_BYTES = 64 * 1024
_REMEMBERED_LINES = 20
_IMPORTANT = frozenset({"warning", "error", "critical"})


class _LogFile(RotatingFileHandler):
    """Drops lines that cannot be written, instead of printing a traceback for each."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class ServerLog:
    """Handles a server's output line by line. Calls `notice` with lines for the operator."""

    def __init__(self, name: str, folder: Path, notice: Callable[[str], None]) -> None:
        self._name = name
        self._notice = notice
        self._file = _LogFile(
            folder / f"{name}.log", maxBytes=_MAX_BYTES, backupCount=_KEPT_FILES, encoding="utf-8"
        )
        self._logger = logging.Logger(name)
        self._logger.addHandler(self._file)
        self.path = folder / f"{name}.log"
        self._plain: deque[str] = deque(maxlen=_REMEMBERED_LINES)

    @property
    def last_words(self) -> str:
        """The last lines that are not log records, such as the reason for a refused start."""
        return "\n".join(self._plain)

    def forget(self) -> None:
        self._plain.clear()

    def line(self, text: str) -> None:
        self._logger.info("%s", text)
        record = _parsed(text)
        if record is None:
            self._plain.append(text)
            return
        if record.get("level") in _IMPORTANT:
            reason = record.get("error") or record.get("detail") or record.get("reason") or ""
            with contextlib.suppress(OSError):
                self._notice(f"{self._name}: {record.get('event', text)} {reason}".rstrip())

    async def drain(self, fd: int) -> None:
        """Read lines from `fd` until all its writers have closed it, then close it."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
        )
        rest = b""
        try:
            while chunk := await reader.read(_MAX_LINE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self.line(line.decode(errors="replace"))
        finally:
            transport.close()
            if rest:
                self.line(rest.decode(errors="replace"))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def _parsed(text: str) -> dict[str, object] | None:
    if not text.startswith("{"):
        return None
    try:
        read = json.loads(text)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None
