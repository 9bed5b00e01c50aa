"""JSON that a tenant or a peer wrote, read without holding the event loop.

Parsing is time on the one loop that serves everybody, and Python's objects take ten times their
bytes. So what is passed on is never made into objects (`members` skips over it, about a millisecond
a megabyte), and what is read is bounded by the number of its values, whatever its texts weigh.
"""

import re
from typing import Any, TypeVar

import msgspec

MOST_VALUES = 50_000
"""A few milliseconds' worth. A history of two hundred long messages has half of it."""
MOST_MEMBERS = 200
_MOST_MENDED = 10_000

# Half of a character outside the first plane, escaped: JavaScript writes it where it cut a text.
_SURROGATES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_LONGEST_RUN = 1000
_ANY_VALUE: Any = Any

T = TypeVar("T")
Json = bytes | bytearray | str | msgspec.Raw


class NotJson(ValueError):
    """It is no JSON, or no object where one is due."""


class TooComplex(NotJson):
    """It has more values than are read."""


class _Name(str):
    """A member's name, which the decoder makes through `dec_hook`."""

    __slots__ = ()


def read(text: Json) -> Any:
    """Any JSON value as Python's objects. Raises `NotJson`, and `TooComplex`."""
    data = _bytes(text)
    if len(data) > MOST_VALUES and _separators(data) > MOST_VALUES:
        raise TooComplex(f"more than {MOST_VALUES} values")
    return _decode(data, _ANY_VALUE, None)


def members(text: Json) -> dict[str, msgspec.Raw]:
    """An object's members, each as it is written; of two with one name, the last.

    Raises `NotJson`; `TooComplex` for more than `MOST_MEMBERS`. What a member's strings hold is not
    looked at: `read` it.
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
    """As JSON; a member that `members` gave is written as it was."""
    return msgspec.json.encode(value)


def _decode(data: bytes | bytearray | memoryview, kind: Any, hook: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=hook)
    except RecursionError as error:
        raise TooComplex("nested too deeply") from error
    except ValueError as error:
        if isinstance(error.__cause__, TooComplex):
            raise error.__cause__ from None
        mended = _mended(bytes(data))
        if mended is None:
            raise NotJson(str(error)) from error
    try:
        return msgspec.json.decode(mended, type=kind, dec_hook=hook)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error


def _mended(data: bytes) -> bytes | None:
    """With U+FFFD for each half of a surrogate pair; `None` when there is none to mend.

    JSON allows them and JavaScript writes them, but they are no text, and no decoder but Python's
    takes them.
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
    """At least the number of values, since those within texts count too."""
    whole = data if isinstance(data, bytes | bytearray) else bytes(data)
    return len(whole) - len(whole.translate(None, b"{[,"))


def _bytes(text: Json) -> bytes | bytearray | memoryview:
    if isinstance(text, str):
        return text.encode(errors="replace")
    return memoryview(text) if isinstance(text, msgspec.Raw) else text
