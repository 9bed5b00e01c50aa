"""Token counts of answers, and their sums by usage row."""

from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

from msgspec import Raw
from ocmt_common import bounded_json

from ocmt_management.llm.request_source import Source

BYTES_PER_TOKEN = 4
_MOST_ESTIMATED = 200_000
"""The highest estimate for a request: images have many bytes but few tokens."""
_MOST_DOLLARS = 10_000
_MAX_TOKENS = 10**7
"""A larger count is implausible and ignored."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Token counts of one answer, as the provider reports them.

    `cached` and `cache_written` are parts of `read`, `reasoning` is one of `written`.
    """

    read: int
    written: int
    cached: int = 0
    cache_written: int = 0
    reasoning: int = 0
    reported_cost: int | None = None
    """In nano-dollars, from a provider that reports its charge (OpenRouter)."""


@dataclass(frozen=True, slots=True)
class UsageKey:
    """The key of a usage row. `day` is in the user's time zone."""

    user_id: str
    day: date
    provider: str
    model: str
    source: Source
    shared: bool = False
    """Whether a shared key pays; not a part of the row's key."""


@dataclass(slots=True)
class UsageSum:
    """The sums of a usage row. `cost` is in nano-dollars, without the `unpriced` requests."""

    requests: int = 0
    estimated: int = 0
    unpriced: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    cache_written: int = 0
    reasoning: int = 0
    cost: int = 0

    def add(self, other: "UsageSum") -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @classmethod
    def of(cls, tokens: TokenCounts | None, *, cost: int | None, estimated: bool) -> "UsageSum":
        """The sums for one request; one without an answer has no tokens and costs nothing."""
        if tokens is None:
            return cls(requests=1)
        return cls(
            requests=1,
            estimated=int(estimated),
            unpriced=int(cost is None),
            tokens_in=tokens.read,
            tokens_out=tokens.written,
            cached=tokens.cached,
            cache_written=tokens.cache_written,
            reasoning=tokens.reasoning,
            cost=cost or 0,
        )


def estimated_counts(
    request: bytes, reported: TokenCounts | None = None, *, written: int = 0
) -> TokenCounts:
    """Estimate the counts that are missing in `reported`, for an answer that was cut off.

    Input tokens are estimated from the request's size; `written` is a minimum for the output.
    """
    read = min(len(request) // BYTES_PER_TOKEN, _MOST_ESTIMATED)
    if reported is None:
        return TokenCounts(read, written)
    return replace(reported, read=reported.read or read, written=max(reported.written, written))


class UsageReader:
    """Reads token counts from the objects of an answer, in any provider's format."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.final = False
        """Whether the counts come from the end of the answer."""

    def take(self, text: bytes | bytearray) -> None:
        """Read the counts in an event's data or a whole answer, as JSON."""
        body = _members(text)
        # Anthropic's stream has the input tokens in its first event, in `message`; the Responses
        # API has all counts in its last, in `response`; Groq in `x_groq`, others in a choice.
        for name in ("message", "response", "x_groq", None):
            holder = body if name is None else _members(body.get(name, b""))
            self._add(_object(holder.get("usage", b"")), final=name != "message")
        if not self._counts and b'"usage"' in (choices := bytes(body.get("choices", b""))):
            for choice in _list(choices):
                if isinstance(choice, dict):
                    self._add(choice.get("usage"), final=True)

    def tokens(self) -> TokenCounts | None:
        """The counts read so far; `None` if there are no plausible ones."""
        counts = self._counts
        if not counts.keys() & {"read", "written"}:
            return None
        return TokenCounts(
            read=counts.get("read", 0),
            written=counts.get("written", 0),
            cached=min(counts.get("cached", 0), counts.get("read", 0)),
            cache_written=min(counts.get("cache_written", 0), counts.get("read", 0)),
            reasoning=min(counts.get("reasoning", 0), counts.get("written", 0)),
            reported_cost=counts.get("cost"),
        )

    def _add(self, usage: object, *, final: bool) -> None:
        if not isinstance(usage, dict):
            return
        # Counts grow during a stream; some servers repeat them, some end with zeros.
        for name, count in _counts(usage).items():
            self._counts[name] = max(self._counts.get(name, 0), count)
            self.final = self.final or (final and name == "written")


def _counts(usage: dict[str, Any]) -> dict[str, int]:
    """Parse a usage object of OpenAI's two APIs, Anthropic or DeepSeek."""
    read = _first(usage, "prompt_tokens", "input_tokens")
    anthropic_cached = _first(usage, "cache_read_input_tokens")
    cache_written = _first(usage, "cache_creation_input_tokens")
    if read is not None and "prompt_tokens" not in usage:
        # Anthropic's `input_tokens` exclude tokens read from and written to its cache.
        read += (anthropic_cached or 0) + (cache_written or 0)
    read_details = _details(usage, "prompt_tokens_details", "input_tokens_details")
    written_details = _details(usage, "completion_tokens_details", "output_tokens_details")
    found = {
        "read": read,
        "written": _first(usage, "completion_tokens", "output_tokens"),
        "cached": _either(
            anthropic_cached,
            _first(read_details, "cached_tokens"),
            _first(usage, "prompt_cache_hit_tokens"),
        ),
        "cache_written": _either(cache_written, _first(read_details, "cache_write_tokens")),
        "reasoning": _first(written_details, "reasoning_tokens", "thinking_tokens"),
        "cost": _nano_dollars(usage.get("cost")),
    }
    return {name: count for name, count in found.items() if count is not None}


def _first(usage: dict[str, Any], *names: str) -> int | None:
    return _either(*(_count(usage.get(name)) for name in names))


def _either(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _count(value: object) -> int | None:
    """A count from a number or a numeric string; `None` if it is neither or implausible."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number <= _MAX_TOKENS else None


def _nano_dollars(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value * 10**9) if 0 <= value <= _MOST_DOLLARS else None


def _details(usage: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((d for name in names if isinstance(d := usage.get(name), dict)), {})


def _members(text: bytes | bytearray | Raw) -> dict[str, Raw]:
    try:
        return bounded_json.members(text)
    except bounded_json.NotJson:
        return {}


def _object(text: bytes | Raw) -> object:
    try:
        return bounded_json.read(text)
    except bounded_json.NotJson:
        return None


def _list(text: bytes) -> list[Any]:
    value = _object(text)
    return value if isinstance(value, list) else []
