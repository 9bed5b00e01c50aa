"""Trouble with a server, worded for the agent and its person, as results of calls.

After three JSON-RPC errors in a row, OpenClaw pauses an MCP server for a minute, which here means
all of the user's tools. So trouble becomes a result with `isError`, which OpenClaw does not count.
"""

import json
from enum import StrEnum


class Kind(StrEnum):
    UNREACHABLE = "unreachable"
    SLOW = "slow"
    FAILED = "failed"
    GARBAGE = "garbage"
    TOO_LARGE = "too-large"
    REDIRECT = "redirect"
    ADDRESS = "address"
    REFUSED = "refused"
    MISSING = "missing"
    LIMIT = "limit"
    PAUSED = "paused"


COUNTED = frozenset(
    {Kind.UNREACHABLE, Kind.SLOW, Kind.FAILED, Kind.GARBAGE, Kind.TOO_LARGE, Kind.REFUSED}
)
"""Kinds that count towards a pause of the server."""


class Trouble(Exception):
    """A server did not serve a request. `text` names the server and the cure."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class RpcError(Exception):
    """A server answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, raw: bytes) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.raw = raw
        """The error object as the server sent it."""


class SessionLost(Exception):
    """The server has ended the session; the request was not served."""


def unreachable(name: str) -> Trouble:
    return Trouble(
        Kind.UNREACHABLE,
        f"{name} cannot be reached now. Go on without it and try later. If it stays so, its person "
        "can check its address under Tools.",
    )


def slow(name: str, seconds: float) -> Trouble:
    return Trouble(
        Kind.SLOW,
        f"{name} did not answer within {seconds:.0f} s, so the call was given up; it may "
        "still have had its effect there. Check before you repeat it.",
    )


def broken_off(name: str) -> Trouble:
    return Trouble(
        Kind.FAILED,
        f"The connection to {name} broke in the middle of its answer; the call may have had its "
        "effect there. Check before you repeat it.",
    )


def failed(name: str, status: int) -> Trouble:
    return Trouble(Kind.FAILED, f"{name} has a problem of its own now (HTTP {status}). Try later.")


def not_mcp(name: str, status: int) -> Trouble:
    return Trouble(
        Kind.FAILED,
        f"{name} does not serve MCP at its address (HTTP {status}). Its person can correct the "
        "address under Tools.",
    )


def busy(name: str) -> Trouble:
    return Trouble(Kind.LIMIT, f"{name} limits how often it is called. Try again in a minute.")


def garbage(name: str, why: str) -> Trouble:
    return Trouble(
        Kind.GARBAGE, f"{name} gave an answer that cannot be used ({why}). Go on without it."
    )


def too_large(name: str, limit_bytes: int) -> Trouble:
    return Trouble(
        Kind.TOO_LARGE,
        f"{name} answered with more than {limit_bytes // 2**20} MiB, which was cut off. Ask it for "
        "less at once.",
    )


def redirected(name: str) -> Trouble:
    return Trouble(
        Kind.REDIRECT,
        f"{name} sends its callers on to another address. OCMT does not follow, so that the "
        "credential goes nowhere else. Its person can enter the new address under Tools.",
    )


def address_refused(name: str, reason: str) -> Trouble:
    return Trouble(Kind.ADDRESS, f"{name} cannot be called: {reason}.")


def credential_refused(name: str) -> Trouble:
    return Trouble(
        Kind.REFUSED,
        f"{name} rejected the credential: it may have expired. Ask your person to enter a new one "
        f"under Tools, {name}; it works at once.",
    )


def credential_missing(name: str) -> Trouble:
    return Trouble(
        Kind.MISSING,
        f"{name} needs a credential that is not there. Ask your person to enter it under Tools, "
        f"{name}; it works at once.",
    )


def too_many_calls(name: str, limit: int) -> Trouble:
    return Trouble(
        Kind.LIMIT, f"{limit} calls to {name} are under way. Wait until one of them is done."
    )


def paused(name: str, seconds: float, last: str) -> Trouble:
    return Trouble(
        Kind.PAUSED, f"{name} is left alone for {max(seconds, 1):.0f} s more. The last call: {last}"
    )


def needs_input(name: str) -> Trouble:
    return Trouble(
        Kind.FAILED,
        f"{name} wants to ask its person something in the middle of this call, which OCMT cannot "
        "pass on. Call it with all it needs.",
    )


def error_result(text: str) -> bytes:
    """A `CallToolResult` with `isError`."""
    return json.dumps(
        {"content": [{"type": "text", "text": text}], "isError": True}, ensure_ascii=False
    ).encode(errors="replace")
