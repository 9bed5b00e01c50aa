"""Reads untrusted JSON without blocking the event loop for long.

Parsing takes time on the loop that serves all users, and Python's objects take ten times the bytes.
So values that are only passed on are not parsed (`members` skips them, at about a millisecond per
megabyte), and the number of values in parsed input is limited.
"""

import re
from typing import Any, TypeVar

import msgspec

MOST_VALUES = 50_000
"""Parsing so many takes a few milliseconds. A history of 200 long messages has half as many."""
MOST_MEMBERS = 200
_MOST_MENDED = 10_000

# An escaped lone surrogate, which JavaScript writes if it cuts a string inside a character.
_SURROGATES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_LONGEST_RUN = 1000
_ANY_VALUE: Any = Any

T = TypeVar("T")
Json = bytes | bytearray | str | msgspec.Raw


class NotJson(ValueError):
    """The text is not JSON, or not an object where one is expected."""


class TooComplex(NotJson):
    """The text has too many values, members or levels."""


class _Name(str):
    """A member's name, which the decoder passes to `dec_hook`."""

    __slots__ = ()


def read(text: Json) -> Any:
    """Parse any JSON value. Raises `NotJson` or `TooComplex`."""
    data = _bytes(text)
    if len(data) > MOST_VALUES and _separators(data) > MOST_VALUES:
        raise TooComplex(f"more than {MOST_VALUES} values")
    return _decode(data, _ANY_VALUE, None)


def members(text: Json) -> dict[str, msgspec.Raw]:
    """An object's members as unparsed JSON; of duplicate names, the last.

    Raises `NotJson`, or `TooComplex` for over `MOST_MEMBERS`. The members' strings are not
    validated; `read` does that.
    """
    count = 0

    def counted(_: type, name: str) -> _Name:
        nonlocal count
        count += 1
        if count > MOST_MEMBERS:
            raise TooComplex(f"more than {MOST_MEMBERS} members")
        return _Name(name)

    found: dict[_Name, msgspec.Raw] = _decode(_bytes(text), dict[_Name, msgspec.Raw], counted)
    return {str(name): value for name, value in found.items()}


def write(value: dict[str, Any]) -> bytes:
    """Serialise `value`; values from `members` are copied unchanged."""
    return msgspec.json.encode(value)


def _decode(data: bytes | bytearray | memoryview, kind: Any, hook: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=hook)
    except RecursionError as error:
        raise TooComplex("nested too deeply") from error
    except ValueError as error:
        if isinstance(error.__cause__, TooComplex):
            raise error.__cause__ from None
        text = mended(bytes(data))
        if text is None:
            raise NotJson(str(error)) from error
    try:
        return msgspec.json.decode(text, type=kind, dec_hook=hook)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def mended(data: bytes) -> bytes | None:
    """`data` with lone surrogates replaced by U+FFFD; `None` if there are none.

    JSON allows them and JavaScript writes them, but they are not valid text, and most decoders
    reject them.
    """
    pieces: list[bytes] = []
    end = 0
    for found in _SURROGATES.finditer(data):
        start = found.start()
        before = data[max(end, start - _LONGEST_RUN) : start]
        escaped = (len(before) - len(before.rstrip(b"\\"))) % 2 == 1
        if found["low"] is not None or escaped:
            continue
        pieces += (data[end:start], b"\\ufffd")
        end = found.end()
        if len(pieces) > _MOST_MENDED:
            return None
    return b"".join([*pieces, data[end:]]) if pieces else None


def _separators(data: bytes | bytearray | memoryview) -> int:
    """An upper bound on the number of values, since it also counts separators in strings."""
    whole = data if isinstance(data, bytes | bytearray) else bytes(data)
    return len(whole) - len(whole.translate(None, b"{[,"))


def _bytes(text: Json) -> bytes | bytearray | memoryview:
    if isinstance(text, str):
        return text.encode(errors="replace")
    return memoryview(text) if isinstance(text, msgspec.Raw) else text
