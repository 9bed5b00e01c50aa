"""Reads token counts, the end, and errors from an answer's bytes while they are passed on.

A stream is passed on in whole lines: no client can use an incomplete line, and it may be the
beginning of an error that must not reach the agent.
"""

import re
from typing import Any, Protocol

from ocmt_common import bounded_json

from ocmt_management.llm import provider_errors
from ocmt_management.llm.provider_errors import ProviderError
from ocmt_management.llm.usage import BYTES_PER_TOKEN, TokenCounts, UsageReader

_MAX_LINE_BYTES = 1024 * 1024
_MAX_HELD_BYTES = 64 * 1024
_MAX_JSON_BYTES = 16 * 1024 * 1024
_BLANK_BYTES = len(b"\r\n")
_BOM = b"\xef\xbb\xbf"
# Found in the last events of a whole answer, of OpenAI or Anthropic.
_ENDED = re.compile(
    rb'\[DONE\]|message_stop|"(?:finish|stop)_reason"\s*:\s*"|response\.(?:completed|incomplete)'
)
# Most events of a stream have `"usage":null`.
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class AnswerReader(Protocol):
    """`feed` returns the bytes to pass on. Once `failed()`, pass on nothing more."""

    error: ProviderError | None
    withheld: bytes
    """The bytes of the error and of what followed it in the same chunk."""
    streamed: bool
    content_type: bytes

    def feed(self, chunk: bytes) -> bytes: ...

    def end(self) -> bytes:
        """Return the bytes held back so far, at the answer's end."""
        ...

    def failed(self) -> bool: ...

    @property
    def complete(self) -> bool:
        """Whether the bytes read so far are a whole answer."""
        ...

    def tokens(self) -> TokenCounts | None: ...

    def estimate(self) -> int:
        """An estimate of the answer's tokens so far."""
        ...


def reader_of(media_type: str, head: bytes) -> AnswerReader | None:
    """The reader for an answer, by its media type and first bytes; `None` if neither is known."""
    if media_type == "text/event-stream":
        return EventStreamReader()
    begin = head.removeprefix(_BOM).lstrip()
    if begin.startswith(_FIELDS):
        return EventStreamReader()
    return WholeReader() if begin.startswith((b"{", b"[")) else None


class EventStreamReader:
    streamed = True
    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self.withheld = b""
        self._usage = UsageReader()
        self._held = bytearray()
        self._begun = False
        self._before = self._last = b""
        self._events = 0

    def feed(self, chunk: bytes) -> bytes:
        if not self._begun:
            chunk = self._without_bom(chunk)
        if not self._held and chunk.endswith(b"\n"):
            return self._pass(chunk)
        cut = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not cut:
            self._held += chunk
            return self._overlong()
        lines = bytes(self._held) + chunk[:cut]
        self._held = bytearray(chunk[cut:])
        return self._pass(lines)

    def end(self) -> bytes:
        rest = bytes(self._held)
        self._held.clear()
        return self._pass(rest)

    def failed(self) -> bool:
        return self.error is not None

    @property
    def complete(self) -> bool:
        return self._usage.final or _ENDED.search(self._before + self._last) is not None

    def tokens(self) -> TokenCounts | None:
        return self._usage.tokens()

    def estimate(self) -> int:
        return self._events  # an event has a token, or a few

    def _without_bom(self, chunk: bytes) -> bytes:
        begin = bytes(self._held) + chunk
        if len(begin) < len(_BOM) and _BOM.startswith(begin):
            return chunk
        self._begun = True
        self._held.clear()
        return begin.removeprefix(_BOM)

    def _overlong(self) -> bytes:
        if len(self._held) <= _MAX_LINE_BYTES:
            return b""
        passed = bytes(self._held)
        self._held.clear()
        return passed

    def _pass(self, lines: bytes) -> bytes:
        self._events += lines.count(b"data:")
        if len(lines) > _BLANK_BYTES:
            self._before, self._last = self._last, lines
        # Most lines hold text of the answer and need no parsing.
        if b'"error"' in lines or (b'"usage"' in lines and _USAGE.search(lines)):
            return self._examined(lines)
        return lines

    def _examined(self, lines: bytes) -> bytes:
        start = 0
        for line in lines.splitlines(keepends=True):
            if line.startswith(b"data:") and self._take(line[5:]):
                self.withheld = lines[start:]
                self._events -= self.withheld.count(b"data:")
                return lines[:start]
            start += len(line)
        return lines

    def _take(self, data: bytes) -> bool:
        """Read an event's usage and error; returns whether it has an error."""
        if _USAGE.search(data):
            self._usage.take(data)
        if b'"error"' in data and (event := _object(data)):
            self.error = provider_errors.from_answer(event)
        return self.error is not None


class WholeReader:
    """Reads an answer that is one JSON object. Holds back up to 64 KiB: it may be an error."""

    streamed = False
    content_type = b"application/json"

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self.withheld = b""
        self._read = bytearray()
        self._passing = False

    def feed(self, chunk: bytes) -> bytes:
        self._read += chunk
        if self._passing:
            if len(self._read) > _MAX_JSON_BYTES:
                self._read.clear()
            return chunk
        if len(self._read) <= _MAX_HELD_BYTES:
            return b""
        self._passing = True
        return bytes(self._read)

    def end(self) -> bytes:
        if self._passing:
            return b""
        if b'"error"' in self._read and (answer := _object(self._read)):
            self.error = provider_errors.from_answer(answer)
        if self.error is not None:
            self.withheld = bytes(self._read)
            return b""
        return bytes(self._read)

    def failed(self) -> bool:
        return self.error is not None

    @property
    def complete(self) -> bool:
        return True

    def tokens(self) -> TokenCounts | None:
        usage = UsageReader()
        usage.take(self._read)
        return usage.tokens()

    def estimate(self) -> int:
        return len(self._read) // BYTES_PER_TOKEN


def _object(text: bytes | bytearray) -> dict[str, Any] | None:
    try:
        value = bounded_json.read(text)
    except bounded_json.NotJson:
        return None
    return value if isinstance(value, dict) else None
