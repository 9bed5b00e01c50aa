"""Reads token counts from an answer's bytes as they are forwarded."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from msgspec import Raw
from ocmt_common import bounded_json

_MAX_LINE_BYTES = 1024 * 1024
_MAX_JSON_BYTES = 16 * 1024 * 1024
_MAX_TOKENS = 10**9
"""No answer uses more; an absurd count must not distort the sums."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Token counts of one answer, as the provider reports them."""

    read: int
    written: int


@dataclass(frozen=True, slots=True)
class UsageKey:
    """The user, day (UTC), provider and model of a usage row."""

    user_id: str
    day: date
    provider: str
    model: str


@dataclass(slots=True)
class UsageSum:
    requests: int = 0
    unmeasured: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, other: "UsageSum") -> None:
        self.requests += other.requests
        self.unmeasured += other.unmeasured
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out


class UsageReader:
    """Finds the token counts in an answer of either shape, streamed or not."""

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._rest = bytearray()
        self._read = self._written = 0
        self._found = False

    def feed(self, chunk: bytes) -> None:
        self._rest += chunk
        if not self._streamed:
            if len(self._rest) > _MAX_JSON_BYTES:
                self._rest.clear()
            return
        if b"\n" in chunk:
            *lines, rest = self._rest.split(b"\n")
            self._rest = rest
            for line in lines:
                self._line(line)
        elif len(self._rest) > _MAX_LINE_BYTES:
            self._rest.clear()

    def tokens(self) -> TokenCounts | None:
        """The counts, after the answer's end; `None` if it had none."""
        if self._streamed:
            self._line(self._rest)
        else:
            self._take(self._rest)
        return TokenCounts(self._read, self._written) if self._found else None

    def _line(self, line: bytearray) -> None:
        # Most lines are text of the answer and are not parsed.
        if line.startswith(b"data:") and b'"usage"' in line:
            self._take(line[5:])

    def _take(self, text: bytearray) -> None:
        body = _members(text)
        # Anthropic's stream has the input tokens in its first event, inside the message.
        for holder in (body, _members(body.get("message", b""))):
            usage = _object(holder.get("usage", b""))
            if usage is not None:
                self._found = True
                self._read = max(self._read, _read(usage))
                self._written = max(
                    self._written, _sum(usage, "completion_tokens") or _sum(usage, "output_tokens")
                )


def _members(text: bytes | bytearray | Raw) -> dict[str, Raw]:
    try:
        return bounded_json.members(text)
    except bounded_json.NotJson:
        return {}


def _object(text: bytes | Raw) -> dict[str, Any] | None:
    try:
        value = bounded_json.read(text)
    except bounded_json.NotJson:
        return None
    return value if isinstance(value, dict) else None


def _read(usage: dict[str, Any]) -> int:
    # Anthropic counts tokens read from and written to its cache separately.
    return _sum(usage, "prompt_tokens") or _sum(
        usage, "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"
    )


def _sum(usage: dict[str, Any], *names: str) -> int:
    counts = (usage.get(name) for name in names)
    return min(_MAX_TOKENS, sum(one for one in counts if isinstance(one, int) and one > 0))
