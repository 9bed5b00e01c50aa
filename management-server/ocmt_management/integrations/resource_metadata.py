"""What a protected resource and its authorization server publish about themselves. Pure.

RFC 9728 and 8414, as MCP uses them; the registration of a client is RFC 7591, or a document at the
client's own address (client id metadata).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from ocmt_management.integrations.provider_schema import (
    Kind,
    OAuth,
    Provider,
    Revocation,
    bounded_scopes,
)

_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")


class MetadataWrong(Exception):
    """The metadata cannot be used. `str()` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a `WWW-Authenticate` header says."""

    metadata_url: str | None = None
    scopes: tuple[str, ...] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    resource: str
    issuer: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationServer:
    issuer: str
    authorize_url: str
    token_url: str
    registration_url: str | None
    revocation_url: str | None
    auth_methods: tuple[str, ...]
    scopes: tuple[str, ...]
    takes_client_documents: bool
    sends_issuer: bool


def read_challenge(header: str) -> Challenge:
    found = {
        name.lower(): quoted.replace('\\"', '"') if quoted else bare
        for name, quoted, bare in _PARAMETER.findall(header[:4000])
    }
    scopes = found.get("scope")
    return Challenge(
        metadata_url=found.get("resource_metadata"),
        scopes=None if not scopes else _scopes(scopes.split()),
        error=found.get("error"),
    )


def resource_metadata_urls(server_url: str) -> list[str]:
    """Where a server's metadata may be, the most exact place first."""
    parts = urlsplit(server_url)
    root = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource"
    path = parts.path.rstrip("/")
    return [root + path, root] if path else [root]


def read_resource(document: Mapping[str, Any], server_url: str) -> Resource:
    """Parse a resource's metadata; the first authorization server counts.

    Raises `MetadataWrong` if the document is not about this server, or names none.
    """
    resource = document.get("resource")
    servers = document.get("authorization_servers")
    if not isinstance(resource, str) or not _covers(resource, server_url):
        raise MetadataWrong("its metadata are about another server")
    if not isinstance(servers, list) or not servers or not isinstance(servers[0], str):
        raise MetadataWrong("its metadata name no authorization server")
    return Resource(
        resource=resource, issuer=servers[0], scopes=_scopes(document.get("scopes_supported"))
    )


def server_metadata_urls(issuer: str) -> list[str]:
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    if not path:
        return [
            f"{origin}/.well-known/oauth-authorization-server",
            f"{origin}/.well-known/openid-configuration",
        ]
    return [
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    ]


def read_server(document: Mapping[str, Any], issuer: str) -> AuthorizationServer:
    """Parse an authorization server's metadata. Raises `MetadataWrong`, also without PKCE (S256).

    The issuer is compared as text (RFC 8414, 3.3). People are sent to the issuer's own origin, or
    each answer has to name the issuer: else anyone's metadata could send them to an honest server,
    and have its code sent to a token endpoint of their own (mix-up, RFC 9700, 4.4 and RFC 9207).
    """
    if document.get("issuer") != issuer:
        raise MetadataWrong("its authorization server's metadata are of another issuer")
    authorize, token = document.get("authorization_endpoint"), document.get("token_endpoint")
    if not isinstance(authorize, str) or not isinstance(token, str):
        raise MetadataWrong("its authorization server names no endpoints")
    if "S256" not in _strings(document.get("code_challenge_methods_supported")):
        raise MetadataWrong("its authorization server does not support PKCE with S256")
    sends_issuer = document.get("authorization_response_iss_parameter_supported") is True
    if not sends_issuer and _origin(authorize) != _origin(issuer):
        raise MetadataWrong(
            "its authorization server sends people to another host without naming itself in the "
            "answer"
        )
    registration = document.get("registration_endpoint")
    revocation = document.get("revocation_endpoint")
    return AuthorizationServer(
        issuer=issuer,
        authorize_url=authorize,
        token_url=token,
        registration_url=registration if isinstance(registration, str) else None,
        revocation_url=revocation if isinstance(revocation, str) else None,
        auth_methods=_strings(document.get("token_endpoint_auth_methods_supported")),
        scopes=_scopes(document.get("scopes_supported")),
        takes_client_documents=document.get("client_id_metadata_document_supported") is True,
        sends_issuer=sends_issuer,
    )


def issuer_tag(issuer: str) -> str:
    """What stands for an authorization server in addresses of this installation."""
    return sha256(issuer.encode()).hexdigest()[:32]


def client_metadata(redirect_uri: str, *, auth_method: str) -> dict[str, Any]:
    """OCMT as a client, for registering or as its document."""
    return {
        "client_name": "OCMT",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": auth_method,
        "application_type": "web",
    }


def auth_method_of(server: AuthorizationServer, *, document: bool) -> str:
    """How the client authenticates: `none` with a `document`, which holds no secret.

    Otherwise the first of Basic, form and none that the server lists; Basic if it lists none.
    """
    if document:
        return "none"
    for method in ("client_secret_basic", "client_secret_post", "none"):
        if method in server.auth_methods:
            return method
    return "client_secret_basic"  # the default of RFC 8414


def scopes_to_ask(
    challenge: Challenge, resource: Resource, server: AuthorizationServer
) -> tuple[str, ...]:
    """The challenge's scopes, else those of the resource.

    If there are any, also `offline_access` where the authorization server lists it.
    """
    asked = challenge.scopes if challenge.scopes is not None else resource.scopes
    if asked and "offline_access" in server.scopes and "offline_access" not in asked:
        asked = (*asked, "offline_access")
    return asked


def provider_of_resource(
    name: str, resource: Resource, server: AuthorizationServer, *, auth_method: str
) -> Provider:
    """A provider for the server `name`. Raises `ValueError` for endpoints that are no addresses."""
    methods = {"client_secret_basic": "basic", "client_secret_post": "post", "none": "none"}
    revocation = (
        Revocation()
        if server.revocation_url is None
        else Revocation(style="rfc7009", url=server.revocation_url)
    )
    oauth = OAuth.model_validate(
        {
            "authorize_url": server.authorize_url,
            "token_url": server.token_url,
            "issuer": server.issuer,
            "issuer_required": server.sends_issuer,
            "client_auth": methods.get(auth_method, "basic"),
            "resource": resource.resource,
            "revocation": revocation,
        }
    )
    return Provider(name=name[:60], kind=Kind.MCP, setup="", oauth=oauth)


def _covers(resource: str, server_url: str) -> bool:
    """Whether a resource identifier is the server's address, or one above its path (RFC 9728)."""
    try:
        have, want = urlsplit(resource), urlsplit(server_url)
        same = (have.scheme, have.hostname, have.port) == (want.scheme, want.hostname, want.port)
    except ValueError:
        return False
    path = have.path.rstrip("/")
    return (
        same
        and not have.fragment
        and (want.path.rstrip("/") == path or want.path.startswith(f"{path}/"))
    )


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """`None` for what is no address, which `provider_of_resource` refuses."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port


def _strings(value: object) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _scopes(value: object) -> tuple[str, ...]:
    return bounded_scopes(one for one in _strings(value) if _SCOPE.fullmatch(one))
