"""The part of approvals that endpoints use: hold a call until its person decides."""

from typing import Protocol

from ocmt_management.tools.calls import ToolCall


class CallHolder(Protocol):
    async def hold(self, call: ToolCall, *, rules_version: int, account_version: int) -> bytes:
        """Ask the person, and wait a while. Returns a `CallToolResult` as JSON.

        This is the call's result if the person approved it in time, else what the agent should do.
        """
        ...
