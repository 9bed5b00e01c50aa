"""The interface of approvals for endpoints: hold a call until its person decides."""

from typing import Protocol

from ocmt_management.tools.calls import ToolCall


class CallHolder(Protocol):
    async def hold(
        self, call: ToolCall, *, rules_version: int, account_version: int, request: bytes
    ) -> bytes:
        """Ask the person, and wait a while. Returns a `CallToolResult` as JSON.

        This is the call's result if the person approved it in time, else what the agent should do.
        `request` identifies the agent's request among those of its user.
        """
        ...

    async def given_up(self, user_id: str, request: bytes) -> None:
        """The agent gave up a request that another process may be holding."""
        ...
