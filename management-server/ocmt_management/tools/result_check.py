"""Checks a server's answer before its bytes are passed on to an agent.

The bytes are untrusted. Valid JSON of the right shape and size is passed on unchanged; anything
else is trouble with that server.
"""

import asyncio
from typing import Any

import msgspec

from ocmt_management.tools.limits import MAX_RESULT_VALUES

_SMALL_BYTES = 256 * 1024
_MAX_DEPTH = 200


class Unusable(ValueError):
    """An answer cannot be used. `str()` is the reason, worded as the end of a sentence."""


async def checked_value(raw: bytes | msgspec.Raw) -> Any:
    """Parse JSON from a server, in a thread if it is large.

    Raises `Unusable` if it is invalid or exceeds a limit.
    """
    if len(memoryview(raw)) <= _SMALL_BYTES:
        return _parse(raw)
    return await asyncio.to_thread(_parse, raw)


async def check_call_result(raw: bytes | msgspec.Raw) -> dict[str, Any]:
    """Parse and check a `CallToolResult`. Raises `Unusable`."""
    result = await checked_value(raw)
    if not isinstance(result, dict):
        raise Unusable("its result is not an object")
    if result.get("resultType", "complete") != "complete":
        return result
    content = result.get("content")
    if not isinstance(content, list):
        raise Unusable("its result has no content")
    if not all(isinstance(one, dict) and isinstance(one.get("type"), str) for one in content):
        raise Unusable("its content is not of MCP's kinds")
    return result


def _parse(raw: bytes | msgspec.Raw) -> Any:
    data = bytes(raw)
    separators = len(data) - len(data.translate(None, b"{[,"))
    if separators > MAX_RESULT_VALUES:
        raise Unusable("more values than can be passed on")
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise Unusable("not valid JSON") from error
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH and _depth_above(value, _MAX_DEPTH):
        raise Unusable("nested too deeply")
    return value


def _depth_above(value: Any, limit: int) -> bool:
    level = [value]
    depth = 0
    while level:
        depth += 1
        if depth > limit:
            return True
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return False
