"""One user's connection to a server, with its URL or package and credential."""

from dataclasses import dataclass

from ocmt_management.tools.models import AccountState
from ocmt_management.vault.service import SecretValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A stdio server's package, pinned by version and integrity."""

    name: str
    version: str
    integrity: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One user's connection to a server. Upstream sessions and limits are per connection."""

    user_id: str
    server_id: str
    slug: str
    name: str
    shared: bool
    url: str | None
    package: Package | None
    credential_name: str | None
    credential: SecretValue | None
    account_state: AccountState
    server_version: int
    account_version: int
    extras: bytes | None = None
    connection_id: str | None = None
    """The connected account whose token is the credential."""
    is_api: bool = False
    """It is that account's HTTP API, not an MCP server."""

    @property
    def key(self) -> tuple[str, str]:
        return self.user_id, self.server_id

    @property
    def session_key(self) -> tuple[str, str, int, int]:
        """The key of the connection's session, which no two users or credentials share."""
        return self.user_id, self.server_id, self.server_version, self.account_version

    @property
    def lacks_credential(self) -> bool:
        return (
            self.credential_name is not None
            and self.credential is None
            and self.connection_id is None
        )
