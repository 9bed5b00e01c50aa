"""Handles a tool server's untrusted output: limits on lines and rates, and the last lines. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1024 * 1024
MOST_ANSWER_BYTES = 4 * MIB
_PIECE = 512
_KEPT_LINES = 20
_KEPT_CHARACTERS = 400
_MOST_STDERR_LINE = 4096
_LEAST_MASKED = 4


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line over the limit: its first and last bytes and its size."""

    head: bytes
    tail: bytes
    size: int


class LineReader:
    """Splits a stream into lines, without their ends. Buffers at most `most_bytes` of a line."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._line = bytearray()
        self._skipped: TooLong | None = None

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        found: list[bytes | TooLong] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            found.append(self._take())
        self._add(rest)
        return found

    def rest(self) -> bytes:
        """The last, incomplete line; empty if it is over the limit."""
        return bytes(self._line)

    def _add(self, piece: bytes) -> None:
        before = self._skipped
        if before is not None:
            tail = (before.tail + piece[-_PIECE:])[-_PIECE:]
            self._skipped = TooLong(before.head, tail, before.size + len(piece))
        elif len(self._line) + len(piece) > self._most:
            head = bytes(self._line[:_PIECE]) + piece[: max(0, _PIECE - len(self._line))]
            tail = (bytes(self._line[-_PIECE:]) + piece[-_PIECE:])[-_PIECE:]
            self._skipped = TooLong(head, tail, len(self._line) + len(piece))
            self._line.clear()
        else:
            self._line += piece

    def _take(self) -> bytes | TooLong:
        if self._skipped is not None:
            taken, self._skipped = self._skipped, None
            return taken
        line = bytes(self._line)
        self._line.clear()
        return line.removesuffix(b"\r")


class Allowance:
    """A token bucket for bytes, which may be overdrawn."""

    def __init__(self, most: int, per_second: int, *, now_s: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = float(most)
        self._at_s = now_s

    def take(self, count: int, *, now_s: float) -> float:
        """Take `count` bytes. Returns the seconds until the bucket is no longer overdrawn, or 0."""
        regained = (now_s - self._at_s) * self._per_second
        self._left = min(self._most, self._left + regained) - count
        self._at_s = now_s
        return max(0.0, -self._left / self._per_second)

    def give_back(self, count: int) -> None:
        self._left = min(self._most, self._left + count)


class LastOutput:
    """The last lines of standard error, to explain a failure.

    Secrets of at least `_LEAST_MASKED` characters are masked.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first, since one may be part of another.
        lines = (line for secret in secrets for line in secret.splitlines())
        masked = {line for line in lines if len(line) >= _LEAST_MASKED}
        self._secrets = sorted(masked, key=len, reverse=True)
        self._reader = LineReader(_MOST_STDERR_LINE)
        self._kept: deque[bytes] = deque(maxlen=_KEPT_LINES)

    def feed(self, data: bytes) -> None:
        """Keep the last lines undecoded, so that a flood of output stays cheap."""
        for line in self._reader.feed(data):
            if isinstance(line, TooLong):
                # Not even a part of the line, which may have a part of the credential.
                self._kept.append(b"(a line of %d bytes)" % line.size)
            elif line:
                self._kept.append(line)

    def lines(self) -> list[str]:
        shown = (self._shown(line) for line in (*self._kept, self._reader.rest()))
        return [line for line in shown if line][-_KEPT_LINES:]

    def _shown(self, line: bytes) -> str:
        text = line.decode(errors="replace")
        for secret in self._secrets:
            text = text.replace(secret, "•••")
        plain = "".join(one if one.isprintable() else " " for one in text)
        return plain.strip()[:_KEPT_CHARACTERS]
