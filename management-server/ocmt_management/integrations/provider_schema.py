"""What a provider's file may say. A file that says anything else is refused when it is loaded."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s#]+\z", max_length=2000)]
Source = Annotated[str, StringConstraints(pattern=r"^https://\S+\z")]
Host = Annotated[
    str,
    StringConstraints(pattern=r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?\z", max_length=255),
]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}\z")]
Parameters = dict[str, str]
_PATH = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


MAX_SCOPE_CHARACTERS = 3900
"""Of all scopes together, separated by spaces."""


def bounded_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """As many of the scopes as may be stored: a provider can name any number."""
    kept: list[str] = []
    length = 0
    for scope in scopes:
        length += len(scope) + 1
        if length > MAX_SCOPE_CHARACTERS:
            break
        kept.append(scope)
    return tuple(kept)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kind(StrEnum):
    OAUTH = "oauth"
    OWN = "own"
    """Endpoints that the operator enters."""
    KEY = "key"
    """A key that the person enters."""
    MCP = "mcp"
    """An MCP server's own authorization server, found by its metadata; never in a file."""


ScopeId = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+\z")
]
ScopeText = Annotated[str, Field(min_length=1, max_length=200)]
"""What a scope permits, in plain words."""


class Scope(_Part):
    id: ScopeId
    text: ScopeText
    required: bool = False
    granted_silently: bool = False
    """The provider never lists it among what was granted."""


class Revocation(_Part):
    style: Literal["rfc7009", "token", "bearer", "basic-json", "github-grant", "none"] = "none"
    """`rfc7009`: form with the client's credentials; `token`: form with the token alone; `bearer`:
    the access token as authorization; `basic-json`: JSON with the token, the client by Basic;
    `github-grant`: GitHub's DELETE of a grant, the client by Basic."""
    url: Address | None = None
    by_hand: Address | None = None
    """Where users end the access themselves if the endpoint is missing or does not confirm."""

    @model_validator(mode="after")
    def _whole(self) -> "Revocation":
        if (self.style == "none") != (self.url is None):
            raise ValueError("a revocation has a url, unless its style is none")
        return self


class OAuth(_Part):
    """Endpoints of an authorization server, and where it departs from the standard."""

    authorize_url: Address
    token_url: Address
    issuer: str | None = None
    """Compared exactly with `iss` of the callback (RFC 9207)."""
    issuer_required: bool = False
    """The server's metadata promise `iss` in each callback."""
    client_auth: Literal["basic", "post", "none"] = "basic"
    request_body: Literal["form", "json"] = "form"
    token_headers: Parameters = {}
    pkce: bool = True
    authorize_parameters: Parameters = {}
    refresh_parameters: Parameters = {}
    """`{redirect_uri}` is replaced by the callback's address."""
    resource: Address | None = None
    """The resource that tokens are for (RFC 8707)."""
    scope_parameter: str = "scope"
    scope_separator: Literal[" ", ","] = " "
    scope_in_answer: Literal[" ", ","] = " "
    token_member: str | None = None
    """The member of the token endpoint's answer in which the tokens are."""
    grant_errors: tuple[str, ...] = ()
    """Errors that mean the same as `invalid_grant`."""
    revocation: Revocation = Revocation()


class Identity(_Part):
    """The call that tells whose account it is; also the connection's test."""

    method: Literal["GET", "POST"] = "GET"
    url: Address
    headers: Parameters = {}
    body: str | None = None
    """JSON."""
    id: str
    """Path of the member that never changes for an account."""
    qualifier: str | None = None
    """Path of a member without which `id` is not unique."""
    label: str
    label_qualifier: str | None = None
    ok_member: str | None = None
    """The member that is false in errors with status 200."""

    @model_validator(mode="after")
    def _paths(self) -> "Identity":
        for path in (self.id, self.qualifier, self.label, self.label_qualifier, self.ok_member):
            if path is not None and not _PATH.match(path):
                raise ValueError(f"{path} is not a path of members, such as data.user.id")
        return self


class Api(_Part):
    base_url: Address
    hosts: tuple[Host, ...] = Field(min_length=1)
    """The only hosts that a token may go to; `*.` stands for any name below."""
    headers: tuple[HeaderName, ...] = ()
    """Headers of the provider's own that an agent may set."""
    default_headers: Parameters = {}
    credential_header: HeaderName = "Authorization"
    credential_prefix: Annotated[
        str, StringConstraints(max_length=20, pattern=r"^[\x20-\x7e]*\z")
    ] = "Bearer "
    read_paths: str | None = None
    """Regular expression: a GET of any other path may change something. `None`: each GET reads."""

    @model_validator(mode="after")
    def _readable(self) -> "Api":
        try:
            re.compile(self.read_paths or "")
        except re.error as error:
            raise ValueError(f"read_paths is no regular expression: {error}") from error
        return self


class Provider(_Part):
    name: str = Field(min_length=1, max_length=60)
    kind: Kind
    setup: str = Field(max_length=600)
    """What the operator does at the provider."""
    oauth: OAuth | None = None
    identity: Identity | None = None
    api: Api | None = None
    scopes: tuple[Scope, ...] = ()
    sources: dict[str, Source] = {}
    """Where each part's facts come from."""

    @model_validator(mode="after")
    def _whole(self) -> "Provider":
        if self.kind is Kind.OAUTH and not (self.oauth and self.identity and self.api):
            raise ValueError("a provider of the kind oauth has the parts oauth, identity and api")
        if self.kind is Kind.MCP and self.oauth is None:
            raise ValueError("an MCP server's provider has the part oauth")
        ids = [scope.id for scope in self.scopes]
        if len(set(ids)) != len(ids):
            raise ValueError("a scope is there twice")
        if len(bounded_scopes(ids)) < len(ids):
            raise ValueError("the scopes are too long together")
        return self

    def chosen_scopes(self, chosen: tuple[str, ...] | None) -> tuple[str, ...]:
        """The scopes to ask for: the required ones, and those of `chosen` (`None`: all)."""
        return tuple(
            scope.id
            for scope in self.scopes
            if scope.required or chosen is None or scope.id in chosen
        )
