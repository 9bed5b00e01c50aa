"""Parses a provider's error, in an error response or inside a 200 response, and finds its cause."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ocmt_common import bounded_json

_MOST_SEARCHED = 64 * 1024
_DEEPEST = 6

# The HTTP status for an error inside an answer, by its type or code.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "bad_request": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "overloaded_error": 529,
}
_STATUS_OF_NO_TYPE = 502


class Cause(StrEnum):
    """The cause of a provider's error, and the code of the error that the user sees."""

    KEY = "provider-refused-key"
    UNPAID = "provider-unpaid"
    MODERATED = "provider-moderated"
    REGION = "provider-region"
    BLOCKED = "provider-blocked"
    UNKNOWN_MODEL = "model-unknown"
    TOO_LONG = "conversation-too-long"
    LIMITS = "provider-limits"
    TROUBLE = "provider-trouble"
    REFUSED = "provider-refused"


@dataclass(frozen=True, slots=True)
class ProviderError:
    """A provider's error: its own `message`, and its whole `text`, to search for a cause."""

    status: int
    message: str
    text: str

    @property
    def cause(self) -> Cause:
        text = self.text.lower()
        return next(cause for cause, applies in _RULES if applies(self.status, text))


_HTML = re.compile(r"\s*(?:<!doctype|<html|<\?xml|<head|<body)")
_TOO_LONG = re.compile(
    r"context[_ ](?:length|window|size)|prompt is too long|maximum (?:context|prompt) length"
    r"|too many (?:input )?tokens|input (?:token count|is too long)|exceeds? the (?:context|maximum"
    r" number of tokens)|request[_ ]too[_ ]large|reduce the length"
)
_UNPAID = re.compile(
    r"insufficient[_ ](?:quota|credit|balance|fund|usd)|insufficient\s+\w+\s+balance|credit|billing"
    r"|payment|balance|overdue|subscription|current plan|coding\s*plan|spend(?:ing)?\s+limit|budget"
    r"|\bupgrade\b|extra usage|usagelimit|余额|欠费|额度不足|额度已用尽|\b1311\b|\b1113\b"
)
# Rate limits, which end by themselves even if the text suggests a larger plan.
_PASSING = re.compile(
    r"rate[_ -]?limit|too many (?:concurrent )?requests|per (?:minute|second|hour|day)|\b[tr]pm\b"
    r"|resource_exhausted|retry (?:in|after)|try again in|throttl|concurren"
)
_NOT_PASSING = re.compile(r"insufficient|not[_ ]active|balance|overdue|credit|payment required")
_MODERATED = re.compile(
    r"moderat|flagged|content[_ -]?(?:polic|filter|management)|safety|usage polic|prohibited"
    r"|data_inspection"
)
_REGION = re.compile(
    r"(?:country|countries|region|territory|location)[^.\n]{0,100}"
    r"(?:not\s+(?:\w+\s+)?(?:supported|available|allowed|permitted)|unsupported|restricted|unavailable|blocked)"
    r"|unsupported_country|unsupported region|not (?:available|supported) in your"
)
_KEY = re.compile(
    r"api[_ -]?key|authenticat|unauthori[sz]ed|credential|invalid[_ ]token|permission[_ ]error"
    r"|forbidden|access denied|deactivated|revoked|oauth|expired|认证|鉴权|密钥|无权"
)


def _blocked(status: int, text: str) -> bool:
    return status in (401, 403, 407, 451) and bool(_HTML.match(text))


def _too_long(status: int, text: str) -> bool:
    return status < 500 and status not in (401, 402, 429) and bool(_TOO_LONG.search(text))


def _unpaid(status: int, text: str) -> bool:
    if status == 429 and _PASSING.search(text) and not _NOT_PASSING.search(text):
        return False
    return status == 402 or (status < 500 and status != 404 and bool(_UNPAID.search(text)))


def _about_key(status: int, text: str) -> bool:
    return status in (401, 403, 407) or (
        status < 500 and status not in (404, 429) and bool(_KEY.search(text))
    )


def _says(words: re.Pattern[str]) -> Callable[[int, str], bool]:
    return lambda status, text: status in (400, 403, 422, 451) and bool(words.search(text))


_RULES: tuple[tuple[Cause, Callable[[int, str], bool]], ...] = (
    (Cause.BLOCKED, _blocked),
    (Cause.TOO_LONG, _too_long),
    (Cause.REGION, _says(_REGION)),
    (Cause.MODERATED, _says(_MODERATED)),
    (Cause.UNPAID, _unpaid),
    (Cause.LIMITS, lambda status, _: status == 429),
    (Cause.TROUBLE, lambda status, _: status == 408 or status >= 500),
    (Cause.KEY, _about_key),
    (Cause.UNKNOWN_MODEL, lambda status, _: status in (404, 410)),
    (Cause.REFUSED, lambda *_: True),
)


def from_body(status: int, body: str) -> ProviderError:
    """Parse the body of an error response."""
    try:
        parsed = bounded_json.read(body)
    except bounded_json.NotJson:
        return ProviderError(status, "" if _HTML.match(body.lower()) else body, body)
    found = error_in(parsed) if isinstance(parsed, dict) else None
    error = parsed if found is None else found
    return ProviderError(status, _message(error), _searched(parsed))


def from_answer(parsed: dict[str, Any]) -> ProviderError | None:
    """The error inside an answer or event with status 200; `None` if it has none."""
    error = error_in(parsed)
    if error is None:
        return None
    return ProviderError(_status(error), _message(error), _searched(parsed))


def error_in(parsed: dict[str, Any]) -> object | None:
    """The error object in an answer of any provider; `None` if it has none."""
    choices = parsed.get("choices")
    holders = [parsed, parsed.get("response"), *(choices if isinstance(choices, list) else ())]
    for holder in holders:
        if isinstance(holder, dict) and holder.get("error"):
            found: object = holder["error"]
            return found
    return parsed if parsed.get("type") == "error" else None


def _status(error: object) -> int:
    if not isinstance(error, dict):
        return _STATUS_OF_NO_TYPE
    for name in ("code", "status", "status_code"):
        value = error.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:4])
        if isinstance(value, int) and 400 <= value < 600:
            return value
    for name in ("type", "code"):
        status = _STATUS_OF_TYPE.get(str(error.get(name)).lower())
        if status is not None:
            return status
    return _STATUS_OF_NO_TYPE


def _message(error: object) -> str:
    if isinstance(error, dict):
        for name in ("message", "detail", "error", "title"):
            value = error.get(name)
            if isinstance(value, str) and value:
                return value
            if isinstance(value, dict):
                return _message(value)
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)


def _searched(parsed: object) -> str:
    """The error as JSON, followed by each of its strings unescaped: OpenClaw searches both."""
    whole = json.dumps(parsed, ensure_ascii=False, default=str)
    return "\n".join([whole[:_MOST_SEARCHED], *_texts(parsed, 0)])


def _texts(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:_MOST_SEARCHED]
    elif depth < _DEEPEST and isinstance(value, dict):
        for one in value.values():
            yield from _texts(one, depth + 1)
    elif depth < _DEEPEST and isinstance(value, list):
        for one in value[:100]:
            yield from _texts(one, depth + 1)
