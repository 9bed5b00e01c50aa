"""Calls of a provider's HTTP API by an agent: what may be sent, and what comes back. Pure.

The token goes to the provider's hosts only. Headers are few, so that none makes a GET act as
another method, and none replaces the credential. Where a provider's GET can
change something, only the paths that its file lists are read.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from ocmt_common import bounded_json
from ocmt_common.bounded_json import NotJson

from ocmt_management.integrations.service import Answer, Api, HttpRequest
from ocmt_management.vault.service import SecretValue

READ, CHANGE = "read", "change"
MAX_BODY_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 512 * 1024
TIMEOUT_S = 60.0
_READING = frozenset({"GET", "HEAD"})
_METHODS = frozenset({*_READING, "POST", "PUT", "PATCH", "DELETE"})
_MAX_URL = 8000
_ALLOWED_HEADERS = frozenset(
    {"accept", "accept-language", "content-type", "if-match", "if-none-match", "prefer", "range"}
)
_SHOWN_HEADERS = (
    "content-type", "link", "location", "etag", "retry-after", "x-ratelimit-remaining",
    "x-ratelimit-reset", "x-next-page", "x-total-count",
)  # fmt: skip
_TEXT = ("text/", "application/json", "application/xml", "application/javascript")


class ApiRefused(Exception):
    """The call may not or cannot be made. `str()` is for the agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    connection: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)

    @property
    def tool(self) -> str:
        """The tool whose rule holds for the call."""
        return READ if self.method in _READING else CHANGE


def named_connection(arguments: bytes) -> tuple[str, str]:
    """The connection that the arguments name, and the tool whose rule holds.

    Raises `ApiRefused`.
    """
    given = _object(arguments)
    return _text(given, "connection"), READ if _method(given) in _READING else CHANGE


def read_call(arguments: bytes, api: Api, *, private_hosts: frozenset[str]) -> ApiCall:
    """Parse and check a call. Raises `ApiRefused`."""
    given = _object(arguments)
    method = _method(given)
    body, content_type = _body(given.get("body"))
    if body is not None and method in _READING:
        raise ApiRefused(f"A {method} request has no body. Leave it out, or use another method.")
    headers = _headers(given.get("headers"), api)
    names = {name.lower() for name, _ in headers}
    headers += [(n, v) for n, v in api.default_headers.items() if n.lower() not in names]
    if content_type is not None and "content-type" not in names:
        headers.append(("Content-Type", content_type))
    if "accept" not in names:
        headers.append(("Accept", "application/json, text/*;q=0.8"))
    url = _url(_text(given, "url"), given.get("query"), api, private_hosts)
    if method in _READING and not _only_reads(urlsplit(url).path, api):
        raise ApiRefused("This call changes something at the provider. Use POST.")
    return ApiCall(
        connection=_text(given, "connection"),
        method=method,
        url=url,
        headers=tuple(headers),
        body=body,
    )


def with_credential(call: ApiCall, api: Api, token: SecretValue) -> HttpRequest:
    credential = (api.credential_header, f"{api.credential_prefix}{token.reveal()}")
    return HttpRequest(
        method=call.method, url=call.url, headers=[*call.headers, credential], body=call.body
    )


def result_of(answer: Answer, token: SecretValue) -> bytes:
    """A `CallToolResult`: status, a few headers and the body, if it is text.

    A token of 8 characters or more is masked.
    """
    secret = token.reveal()
    headers = {n: answer.headers[n] for n in _SHOWN_HEADERS if n in answer.headers}
    kind = answer.headers.get("content-type", "").lower()
    if not answer.body:
        text = ""
    elif kind.startswith(_TEXT) or "json" in kind or "xml" in kind or not kind:
        text = answer.body.decode("utf-8", errors="replace")
    else:
        text = f"({len(answer.body)} bytes of {kind[:80]}, which are not shown)"
    shown: dict[str, Any] = {"status": answer.status, "headers": headers, "body": text}
    if not answer.whole:
        shown["cut"] = f"Only the first {MAX_ANSWER_BYTES // 1024} KiB; ask for less at once."
    written = json.dumps(shown, ensure_ascii=False)
    if len(secret) >= 8:  # a provider that echoes requests would hand it out
        escaped = json.dumps(secret)[1:-1]
        written = written.replace(escaped, "[token]").replace(secret, "[token]")
    result = {
        "content": [{"type": "text", "text": written}],
        "isError": answer.status >= 400,
    }
    return json.dumps(result, ensure_ascii=False).encode(errors="replace")


def _object(arguments: bytes) -> Mapping[str, Any]:
    try:
        found = bounded_json.read(arguments)
    except NotJson as error:
        raise ApiRefused(f"The arguments are not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ApiRefused("The arguments are not an object.")
    unknown = sorted(set(found) - {"connection", "method", "url", "query", "headers", "body"})
    if unknown:
        raise ApiRefused(f"There is no argument {', '.join(unknown)[:200]}.")
    return found


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ApiRefused(f"Give `{name}`, a text.")
    return value.strip()


def _method(given: Mapping[str, Any]) -> str:
    method = given.get("method", "GET")
    if not isinstance(method, str) or method.upper() not in _METHODS:
        raise ApiRefused(f"Give `method`: one of {', '.join(sorted(_METHODS))}.")
    return method.upper()


def _url(text: str, query: object, api: Api, private_hosts: frozenset[str]) -> str:
    if not text.isprintable() or "\\" in text or len(text) > _MAX_URL:
        raise ApiRefused("`url` has a character that no address has, or is too long.")
    if "://" not in text:
        if text.startswith("//"):
            raise ApiRefused("Give `url` as a path, such as /user, or as a whole https:// address.")
        text = f"{api.base_url.rstrip('/')}/{text.lstrip('/')}"
    try:
        parts = urlsplit(urljoin(api.base_url, text))
        port = parts.port
    except ValueError as error:
        raise ApiRefused("`url` is no address.") from error
    host = (parts.hostname or "").lower().rstrip(".")
    if parts.username is not None or parts.password is not None:
        raise ApiRefused("Leave user and password out of `url`: the credential is added.")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in private_hosts):
        raise ApiRefused("`url` must be https://.")
    if not any(_matches(host, port, parts.scheme, pattern) for pattern in api.hosts):
        raise ApiRefused(
            f"This connection is for {', '.join(api.hosts)} only, not for {host[:200]}."
        )
    netloc = host if port is None else f"{host}:{port}"
    return urlunsplit(
        (
            parts.scheme,
            netloc,
            quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._"),
            _query(quote(parts.query, safe="=&%:@!$'()*+,;~-._/?"), query),
            "",
        )
    )


def _only_reads(path: str, api: Api) -> bool:
    """Whether a GET of this path cannot change anything at the provider."""
    if api.read_paths is None:
        return True
    # A server may resolve these segments, also encoded ones, to a path that was not compared.
    segments = re.split(r"[/\\]", unquote(unquote(path)))
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        return False
    return re.fullmatch(api.read_paths, path, re.ASCII) is not None


def _matches(host: str, port: int | None, scheme: str, pattern: str) -> bool:
    name, _, wanted = pattern.partition(":")
    usual = 443 if scheme == "https" else 80
    if (port or usual) != (int(wanted) if wanted else usual):
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return host == name


def _query(present: str, query: object) -> str:
    if query is None:
        return present
    if not isinstance(query, dict):
        raise ApiRefused("`query` is an object of texts, numbers, or lists of them.")
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool):
                pairs.append((name, "true" if one else "false"))
            elif isinstance(one, str | int | float):
                pairs.append((name, str(one)))
            else:
                raise ApiRefused("`query` is an object of texts, numbers, or lists of them.")
    return "&".join(part for part in (present, urlencode(pairs)) if part)


def _headers(given: object, api: Api) -> list[tuple[str, str]]:
    if given is None:
        return []
    if not isinstance(given, dict):
        raise ApiRefused("`headers` is an object of texts.")
    allowed = _ALLOWED_HEADERS | {name.lower() for name in api.headers}
    found = []
    for name, value in given.items():
        if name.lower() not in allowed:
            raise ApiRefused(
                f"The header {name[:100]} cannot be set; {', '.join(sorted(allowed))} can. The "
                "credential is added without you."
            )
        if not isinstance(value, str) or not all(" " <= c <= "~" for c in value):
            raise ApiRefused(f"The header {name[:100]} is not plain text.")
        found.append((name, value))
    return found


def _body(given: object) -> tuple[bytes | None, str | None]:
    if given is None:
        return None, None
    if isinstance(given, str):
        body, content_type = given.encode(errors="replace"), "text/plain; charset=utf-8"
    else:
        body, content_type = json.dumps(given, ensure_ascii=False).encode(), "application/json"
    if len(body) > MAX_BODY_BYTES:
        raise ApiRefused(f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")
    return body, content_type
