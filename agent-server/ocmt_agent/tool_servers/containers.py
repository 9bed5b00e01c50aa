"""What tool servers need of the machine: packages installed, and processes in containers."""

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
    """One start of one user's tool server."""

    user_id: str
    server_id: str
    number: int
    """The number of the user's agent on this host."""
    package: Package
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class PackageRefused(Exception):
    """The package cannot be installed; `str()` says why, and what to do."""


class ToolContainers(Protocol):
    """Its methods also raise `RuntimeUnavailable` and `RuntimeFailed`."""

    async def is_installed(self, package: Package) -> bool: ...

    async def install(self, package: Package) -> None:
        """Install it, for all users of the host. Raises `PackageRefused`.

        Called for one package at a time. When it is cancelled, nothing is left of the attempt.
        """
        ...

    async def start(self, launch: Launch) -> StdioProcess:
        """Start it. When it is cancelled, nothing is left of the attempt."""
        ...

    async def remove_leftovers(self) -> None:
        """Remove what is of no use: of a killed server, of a failed removal, an old package."""
        ...

    async def close(self) -> None: ...
