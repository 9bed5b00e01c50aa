"""Lists a server's tools, and its resources and prompts if it has them."""

import json
from dataclasses import dataclass
from typing import Any

from ocmt_management.tools import trouble
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.limits import (
    LIST_TIMEOUT_S,
    MAX_EXTRAS_BYTES,
    MAX_LIST_BYTES,
    MAX_LIST_PAGES,
)
from ocmt_management.tools.messages import METHOD_NOT_FOUND
from ocmt_management.tools.pins import Definition, read_definitions
from ocmt_management.tools.result_check import Unusable, checked_value
from ocmt_management.tools.trouble import RpcError, Trouble
from ocmt_management.tools.upstream import Upstream

EXTRAS = {
    "resources": ("resources/list", "resources"),
    "resourceTemplates": ("resources/templates/list", "resources"),
    "prompts": ("prompts/list", "prompts"),
}
"""What is listed besides tools: member of the result → `(method, required capability)`."""


@dataclass(frozen=True, slots=True)
class Offer:
    definitions: dict[str, Definition]
    extras: bytes
    """A JSON object with those lists of `EXTRAS` that the server answered; empty if too large."""
    trouble: str | None
    """Which tools cannot be used and why, or that the extras are too large; `None` if all can be.

    Extras that could not be listed are not mentioned.
    """


async def discover(upstream: Upstream, connection: Connection) -> Offer:
    """List a server's tools, resources and prompts.

    Raises `Trouble` if the tools cannot be listed; leaves out extras that cannot.
    """
    session = await upstream.session(connection)
    tools = await _list(upstream, connection, "tools/list", "tools")
    definitions, wrong = read_definitions(tools)
    extras: dict[str, list[Any]] = {}
    for member, (method, capability) in EXTRAS.items():
        if capability in session.capabilities:
            try:
                extras[member] = await _list(upstream, connection, method, member)
            except (Trouble, RpcError):  # they never cost the tools
                continue
    kept = json.dumps(extras, ensure_ascii=False).encode(errors="replace")
    if len(kept) > MAX_EXTRAS_BYTES:
        wrong.append("its resources and prompts are too many to be listed")
        kept = b"{}"
    return Offer(definitions, kept, _summary(connection, wrong))


async def _list(upstream: Upstream, connection: Connection, method: str, member: str) -> list[Any]:
    """Request the pages of a list, at most `MAX_LIST_PAGES`. Raises `Trouble`.

    Returns what it has if the server does not know the method.
    """
    found: list[Any] = []
    cursor: str | None = None
    received = 0
    for _ in range(MAX_LIST_PAGES):
        params = b"{}" if cursor is None else json.dumps({"cursor": cursor}).encode()
        try:
            raw = await upstream.request(connection, method, params, timeout_s=LIST_TIMEOUT_S)
        except RpcError as error:
            if error.code == METHOD_NOT_FOUND:  # a server without tools
                return found
            raise trouble.garbage(connection.name, error.message) from error
        received += len(raw)
        if received > MAX_LIST_BYTES:
            raise trouble.too_large(connection.name, MAX_LIST_BYTES)
        try:
            page = await checked_value(raw)
        except Unusable as reason:
            raise trouble.garbage(connection.name, str(reason)) from reason
        items = page.get(member) if isinstance(page, dict) else None
        if not isinstance(items, list):
            raise trouble.garbage(connection.name, f"its answer has no list `{member}`")
        found += items
        following = page.get("nextCursor")
        if not isinstance(following, str) or not following or following == cursor:
            return found
        cursor = following
    return found


def _summary(connection: Connection, wrong: list[str]) -> str | None:
    if not wrong:
        return None
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{connection.name} lists what cannot be used: {'; '.join(wrong[:3])}{more}."
