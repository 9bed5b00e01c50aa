"""One tool call: what is called, for whom, and the rules that hold for it."""

from dataclasses import dataclass

from ocmt_management.tools.models import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of one tool for one user. Its arguments are never logged."""

    user_id: str
    server_id: str
    tool: str
    """The tool's name at its server."""
    arguments: bytes
    """A JSON object, as the agent wrote it."""
    pin: bytes
    """The definition that the agent was shown."""

    def __repr__(self) -> str:
        return f"ToolCall({self.server_id}, {self.tool}, for {self.user_id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What holds for a tool now. Versions are compared for equality only."""

    rule: Rule
    pin: bytes | None
    """The pin of the usable definition; `None` if it is gone, quarantined or not connected."""
    rules_version: int
    account_version: int
