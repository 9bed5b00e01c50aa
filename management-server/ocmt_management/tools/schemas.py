"""Requests and answers of the tools' pages."""

from datetime import datetime
from typing import Annotated

from ocmt_common.agent_api import Command, Wire
from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from ocmt_management.tools.models import (
    NAME_CHARACTERS,
    TOOL_CHARACTERS,
    URL_CHARACTERS,
    AccountState,
    DefinitionState,
    Rule,
    Transport,
)
from ocmt_management.tools.names import SLUG_PATTERN

MAX_CREDENTIAL_CHARACTERS = 4096
MAX_ARGUMENTS = 32
_SERVERS_OWN_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "cookie",
        "expect", "forwarded", "host", "keep-alive", "last-event-id", "origin", "te", "trailer",
        "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip
_OWN_VARIABLES = ("LD_", "NODE_", "NPM_", "OCMT_", "PATH", "HOME", "PWD", "SHELL")

ServerName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=NAME_CHARACTERS,
        pattern=r"^[^\x00-\x1f\x7f]*\z",
    ),
]
Slug = Annotated[str, StringConstraints(pattern=rf"^{SLUG_PATTERN}\z")]
ToolName = Annotated[str, StringConstraints(min_length=1, max_length=TOOL_CHARACTERS)]
Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}\z")]
ServerUrl = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=8, max_length=URL_CHARACTERS)
]
Argument = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*\z")]


def _checked_header(name: str | None) -> str | None:
    if name is not None and (
        name.lower() in _SERVERS_OWN_HEADERS or name.lower().startswith(("mcp-", "proxy-", "sec-"))
    ):
        raise ValueError("is set by OCMT itself; credentials go in Authorization or X-Api-Key")
    return name


def _checked_credential(value: SecretStr | None) -> SecretStr | None:
    text = "" if value is None else value.get_secret_value()
    if text != text.strip() or not all(" " <= letter <= "~" for letter in text):
        raise ValueError("has a space at an end or a character that keys never have; copy it again")
    return value


class NewServer(Command):
    """A user's own server, over Streamable HTTP."""

    name: ServerName
    url: ServerUrl
    slug: Slug | None = None
    """The prefix of its tools' names; made from the name if it is left out."""
    credential_name: Header | None = None
    """The header for the credential; none if left out."""
    credential: SecretStr | None = Field(None, min_length=1, max_length=MAX_CREDENTIAL_CHARACTERS)

    _header = field_validator("credential_name")(_checked_header)
    _credential = field_validator("credential")(_checked_credential)

    @model_validator(mode="after")
    def _whole(self) -> "NewServer":
        if self.credential is not None and self.credential_name is None:
            raise ValueError("credentialName is missing: the header that the credential goes in")
        return self


class PackageBody(Command):
    """An npm package, pinned."""

    name: Annotated[
        str,
        StringConstraints(
            max_length=214, pattern=r"^(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*\z"
        ),
    ]
    version: Annotated[
        str,
        StringConstraints(max_length=64, pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?\z"),
    ]
    """Exact, such as `2026.8.31`."""
    integrity: Annotated[
        str, StringConstraints(max_length=128, pattern=r"^sha512-[A-Za-z0-9+/]{86}==\z")
    ]
    """`npm view NAME@VERSION dist.integrity`."""
    arguments: list[Argument] = Field(default_factory=list, max_length=MAX_ARGUMENTS)


class NewSharedServer(Command):
    """A shared server: over Streamable HTTP (`url`), or a package over stdio."""

    name: ServerName
    slug: Slug | None = None
    url: ServerUrl | None = None
    package: PackageBody | None = None
    credential_name: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}\z")] | None
    ) = None
    """The header, or the package's environment variable, for each person's own credential."""

    @model_validator(mode="after")
    def _whole(self) -> "NewSharedServer":
        if (self.url is None) == (self.package is None):
            raise ValueError("send either url or package")
        name = self.credential_name
        if self.url is not None:
            if name is not None and "_" in name:
                raise ValueError("credentialName is a header: letters, digits and hyphens")
            _checked_header(name)
        elif name is not None and ("-" in name or name.upper().startswith(_OWN_VARIABLES)):
            raise ValueError(
                "credentialName is an environment variable of the package, such as API_TOKEN"
            )
        return self


class ServerChange(Command):
    name: ServerName | None = None
    enabled: bool | None = None


class ConnectionBody(Command):
    credential: SecretStr | None = Field(None, min_length=1, max_length=MAX_CREDENTIAL_CHARACTERS)
    """Required if the server has a `credentialName` and none is stored yet."""

    _credential = field_validator("credential")(_checked_credential)


class RuleBody(Command):
    tool: ToolName | None = None
    """The tool's own name; the whole server if left out."""
    rule: Rule | None
    """`null` removes the rule."""


class Acceptance(Command):
    tool: ToolName
    pin: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
    """The pin of the definition that was shown."""


class ToolView(Wire):
    name: str
    """At its server."""
    public_name: str
    """In the agent."""
    title: str | None
    description: str
    read_only: bool | None
    """The server's own claim, not vetted."""
    state: DefinitionState
    rule: Rule
    """The rule that applies: the stricter of the admins' and the user's own."""
    admin_rule: Rule | None
    own_rule: Rule | None


class ServerView(Wire):
    id: str
    slug: str
    name: str
    shared: bool
    transport: Transport
    url: str | None
    package: str | None
    """`name@version` of a server over stdio."""
    credential_name: str | None
    connected: bool
    enabled: bool
    credential_state: AccountState | None
    """`null` if no credential is needed or the server is not connected."""
    credential_hint: str | None
    connection_id: str | None
    """The connected account whose token is the credential."""
    trouble: str | None
    """What is wrong and what to do; `null` when all is well."""
    listed_at: datetime | None
    admin_rule: Rule | None
    own_rule: Rule | None
    tools: list[ToolView]


class SignInAnswer(Wire):
    url: str
    """The address at which the person signs in to the server."""


class ToolsAnswer(Wire):
    servers: list[ServerView]


class ChangeView(Wire):
    """A definition that differs from the accepted one."""

    tool: str
    public_name: str
    state: DefinitionState
    pin: str
    difference: list[str]
    """The lines of a unified diff between the accepted definition and the current one."""


class ChangesAnswer(Wire):
    changes: list[ChangeView]


class UseView(Wire):
    server: str
    """The server's name."""
    tool: str
    outcome: str
    """`ok`, `error`, `trouble`, `asked` or `denied`."""
    milliseconds: int
    shape: str
    """The arguments' names, types and sizes, never their values."""
    at: datetime


class UsesAnswer(Wire):
    uses: list[UseView]
    """Newest first."""


class SharedToolView(Wire):
    name: str
    description: str | None
    """`null` for a tool that the admin's own connection does not list."""
    rule: Rule | None


class SharedServerView(Wire):
    id: str
    slug: str
    name: str
    transport: Transport
    url: str | None
    package: str | None
    arguments: list[str]
    credential_name: str | None
    enabled: bool
    people: int
    """How many users have connected it."""
    rule: Rule | None
    tools: list[SharedToolView]


class SharedServersAnswer(Wire):
    servers: list[SharedServerView]
