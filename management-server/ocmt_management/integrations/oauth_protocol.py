"""OAuth 2.0 as a client: which requests are sent, and what their answers mean. Pure.

RFC 6749 with PKCE (7636), `iss` (9207), resource indicators (8707), revocation (7009). Building
addresses and bodies is Authlib's; sending them is `oauth_http`'s, through the address guard.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from ocmt_management.integrations.provider_schema import Identity, OAuth, bounded_scopes
from ocmt_management.vault.service import SecretValue

_FORM = "application/x-www-form-urlencoded"
_MAX_TOKEN = 6_000
_MAX_TEXT = 300
_LONGEST = timedelta(days=3650)
_TOKEN_TYPES = frozenset({"", "bearer", "user", "token"})
Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """OCMT as a client of one authorization server."""

    id: str
    secret: SecretValue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    method: str
    url: str
    headers: Headers = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    access: SecretValue
    refresh: SecretValue | None
    expires_at: datetime | None
    scopes: tuple[str, ...] | None
    """What was granted; `None` if the answer does not tell: what was asked for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer of a token endpoint without tokens."""

    error: str | None
    """The OAuth error; `None` when the answer is no OAuth answer."""
    detail: str


class CallbackRefused(Exception):
    """Connecting ended without a connection. `code` is for the page, `text` for the log."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def authorization_url(
    oauth: OAuth,
    client: Client,
    *,
    redirect_uri: str,
    state: str,
    verifier: str,
    scopes: tuple[str, ...],
) -> str:
    """The address at which the person consents."""
    parameters = dict(oauth.authorize_parameters)
    if oauth.pkce:
        parameters["code_challenge"] = create_s256_code_challenge(verifier)
        parameters["code_challenge_method"] = "S256"
    if oauth.resource is not None:
        parameters["resource"] = oauth.resource
    if scopes:
        parameters[oauth.scope_parameter] = oauth.scope_separator.join(scopes)
    return str(
        prepare_grant_uri(
            oauth.authorize_url,
            client_id=client.id,
            response_type="code",
            redirect_uri=redirect_uri,
            state=state,
            **parameters,
        )
    )


def code_of(parameters: Mapping[str, str], oauth: OAuth) -> str:
    """The code in a callback, of which the caller has checked the state.

    Raises `CallbackRefused`.
    """
    issuer = parameters.get("iss")
    if issuer is None and oauth.issuer_required:
        raise CallbackRefused("issuer-wrong", "The answer did not say who it is from.")
    # Compared as text: RFC 9207 forbids normalising.
    if issuer is not None and oauth.issuer is not None and issuer != oauth.issuer:
        raise CallbackRefused("issuer-wrong", "The answer came from another provider.")
    error = parameters.get("error")
    if error == "access_denied":
        raise CallbackRefused("refused", "You did not allow it, so nothing was connected.")
    if error is not None:
        said = _plain(parameters.get("error_description") or error)
        raise CallbackRefused("provider-error", f"The provider reported an error: {said}")
    code = parameters.get("code", "")
    if not code or len(code) > _MAX_TOKEN:
        raise CallbackRefused("provider-error", "The provider sent no code.")
    return code


def code_request(
    oauth: OAuth, client: Client, *, code: str, verifier: str, redirect_uri: str
) -> HttpRequest:
    """The request that exchanges a code for tokens."""
    more = {"code_verifier": verifier} if oauth.pkce else {}
    if oauth.resource is not None:
        more["resource"] = oauth.resource
    body = prepare_token_request("authorization_code", redirect_uri=redirect_uri, code=code, **more)
    return _token_request(oauth, client, dict(parse_qsl(body)))


def refresh_request(
    oauth: OAuth, client: Client, *, refresh: SecretValue, redirect_uri: str
) -> HttpRequest:
    more = {
        name: value.replace("{redirect_uri}", redirect_uri)
        for name, value in oauth.refresh_parameters.items()
    }
    if oauth.resource is not None:
        more["resource"] = oauth.resource
    body = prepare_token_request("refresh_token", refresh_token=refresh.reveal(), **more)
    return _token_request(oauth, client, dict(parse_qsl(body)))


def revocation_requests(
    oauth: OAuth, client: Client, *, access: SecretValue, refresh: SecretValue | None
) -> list[HttpRequest]:
    """Requests that end the access at the provider; empty if it has no endpoint for that."""
    revocation = oauth.revocation
    if revocation.url is None:
        return []
    url = revocation.url.replace("{client_id}", quote(client.id, safe=""))
    if revocation.style == "bearer":
        headers = [("Authorization", f"Bearer {access.reveal()}")]
        return [HttpRequest(method="POST", url=url, headers=[*_accept(), *headers])]
    if revocation.style == "github-grant":
        headers = [*_accept(), _basic(client, encoded=False), _json_type()]
        body = json.dumps({"access_token": access.reveal()}).encode()
        return [HttpRequest(method="DELETE", url=url, headers=headers, body=body)]
    if revocation.style == "basic-json":
        headers = [*_accept(), *oauth.token_headers.items(), _basic(client), _json_type()]
        body = json.dumps({"token": access.reveal()}).encode()
        return [HttpRequest(method="POST", url=url, headers=headers, body=body)]
    # Ending a refresh token ends its access tokens, too; some servers end only the one named.
    tokens = [(access, "access_token")]
    if refresh is not None:
        tokens.insert(0, (refresh, "refresh_token"))
    requests = []
    for token, hint in tokens:
        fields = {"token": token.reveal()}
        if revocation.style == "token":
            requests.append(_form(url, [], fields))
            break
        fields["token_type_hint"] = hint
        headers, extra = _client_credentials(oauth, client)
        requests.append(_form(url, headers, {**fields, **extra}))
    return requests


def revoked_by_access_token(oauth: OAuth) -> bool:
    """Whether the requests that end the access need an access token that is still good."""
    return oauth.revocation.style in ("bearer", "basic-json", "github-grant")


def identity_request(identity: Identity, access: SecretValue) -> HttpRequest:
    headers = [*_accept(), *identity.headers.items()]
    headers.append(("Authorization", f"Bearer {access.reveal()}"))
    body = None
    if identity.body is not None:
        headers.append(_json_type())
        body = identity.body.encode()
    return HttpRequest(method=identity.method, url=identity.url, headers=headers, body=body)


def read_tokens(oauth: OAuth, body: bytes, *, now: datetime) -> Tokens | Refused:
    """The tokens in a token endpoint's answer; `Refused` if there are none that can be used.

    Does not depend on the status, since some send errors with 200.
    """
    answer = json_object(body)
    if answer is None:
        return Refused(None, "it is not JSON")
    inner = answer.get(oauth.token_member) if oauth.token_member else None
    found = inner if isinstance(inner, dict) and "access_token" in inner else answer
    access, refresh = found.get("access_token"), found.get("refresh_token")
    if access is None:
        error = answer.get("error")
        error = error if isinstance(error, str) and 0 < len(error) <= 100 else None
        return Refused(error, _plain(answer.get("error_description") or error or "no token in it"))
    if not _is_token(access) or not (refresh in (None, "") or _is_token(refresh)):
        return Refused(None, "its tokens are malformed")
    kind = found.get("token_type", "")
    if not isinstance(kind, str) or kind.lower() not in _TOKEN_TYPES:
        return Refused(None, "its tokens are of a type that OCMT does not use")
    return Tokens(
        access=SecretValue(access),
        refresh=SecretValue(refresh) if refresh else None,
        expires_at=_end(found.get("expires_in"), now),
        scopes=_scopes(found.get("scope"), oauth.scope_in_answer),
    )


def account_of(identity: Identity, body: bytes) -> tuple[str, str] | None:
    """The account's unchanging id and its label in the answer of the identity call.

    `None` if the answer has no id, or is an error by the provider's `ok_member`.
    """
    answer = json_object(body)
    if answer is None or (identity.ok_member and _member(answer, identity.ok_member) is not True):
        return None
    found = [_text(_member(answer, path)) for path in (identity.qualifier, identity.id) if path]
    if not found or None in found:
        return None
    account_id = "/".join(part for part in found if part)
    label = _text(_member(answer, identity.label)) or account_id
    if identity.label_qualifier:
        where = _text(_member(answer, identity.label_qualifier))
        label = f"{label} ({where})" if where else label
    return account_id[:200], _plain(label)[:200]


def json_object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _token_request(oauth: OAuth, client: Client, fields: dict[str, str]) -> HttpRequest:
    headers, extra = _client_credentials(oauth, client)
    headers = [*headers, *oauth.token_headers.items()]
    if oauth.request_body == "json":
        return HttpRequest(
            method="POST",
            url=oauth.token_url,
            headers=[*_accept(), *headers, _json_type()],
            body=json.dumps({**fields, **extra}).encode(),
        )
    return _form(oauth.token_url, headers, {**fields, **extra})


def _client_credentials(oauth: OAuth, client: Client) -> tuple[Headers, dict[str, str]]:
    """The client's credentials as headers and as fields."""
    if client.secret is None or oauth.client_auth == "none":
        return [], {"client_id": client.id}
    if oauth.client_auth == "basic":
        return [_basic(client)], {}
    return [], {"client_id": client.id, "client_secret": client.secret.reveal()}


def _basic(client: Client, *, encoded: bool = True) -> tuple[str, str]:
    """RFC 6749 encodes both parts as in a form; plain Basic authentication does not."""
    secret = "" if client.secret is None else client.secret.reveal()
    parts = (quote(client.id, safe=""), quote(secret, safe="")) if encoded else (client.id, secret)
    return "Authorization", "Basic " + base64.b64encode(":".join(parts).encode()).decode()


def _form(url: str, headers: Headers, fields: Mapping[str, str]) -> HttpRequest:
    return HttpRequest(
        method="POST",
        url=url,
        headers=[*_accept(), *headers, ("Content-Type", _FORM)],
        body=urlencode(fields).encode(),
    )


def _accept() -> Headers:
    return [("Accept", "application/json")]


def _json_type() -> tuple[str, str]:
    return "Content-Type", "application/json"


def _is_token(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_TOKEN
        and all("!" <= character <= "~" for character in value)
    )


def _end(expires_in: object, now: datetime) -> datetime | None:
    try:
        seconds = float(expires_in) if isinstance(expires_in, str | int | float) else 0.0
    except ValueError:
        return None
    if not 0 < seconds < _LONGEST.total_seconds():  # 0, null and nonsense: it does not expire
        return None
    return now + timedelta(seconds=seconds)


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    if not isinstance(value, str) or not value.strip():
        return None
    return bounded_scopes(sorted({*value.replace(separator, " ").split()}))


def _member(value: object, path: str) -> object:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None


def _plain(text: object) -> str:
    """A provider's words, bounded and without control characters."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:_MAX_TEXT].strip()
