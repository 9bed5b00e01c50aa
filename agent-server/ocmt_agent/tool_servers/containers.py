"""The interface for tool servers: install packages, and start processes in containers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ocmt_common.agent_api import ToolServerDefinition

from ocmt_agent.tool_servers.stdio_session import StdioProcess


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str
    integrity: str

    @classmethod
    def of(cls, definition: ToolServerDefinition) -> "Package":
        return cls(definition.package, definition.version, definition.integrity)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Launch:
    """The settings for a start of a user's tool server."""

    user_id: str
    server_id: str
    number: int
    """The number of the user's agent on this host."""
    package: Package
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class PackageRefused(Exception):
    """The package cannot be installed. `str()` says why and what to do."""


class ToolContainers(Protocol):
    """A driver. Its methods may also raise `RuntimeUnavailable` and `RuntimeFailed`."""

    async def is_installed(self, package: Package) -> bool: ...

    async def install(self, package: Package) -> None:
        """Install a package, for all users of the host. Raises `PackageRefused`.

        Called for one package at a time. If cancelled, it leaves nothing behind.
        """
        ...

    async def start(self, launch: Launch) -> StdioProcess:
        """Start a tool server. If cancelled, it leaves nothing behind."""
        ...

    async def remove_leftovers(self) -> None:
        """Remove containers of a killed server, failed removals, and packages long unused."""
        ...

    async def close(self) -> None: ...
