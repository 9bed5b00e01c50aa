"""The interface of approvals for endpoints: hold a call until its person decides."""

from typing import Protocol

from ocmt_management.tools.calls import ToolCall


class CallHolder(Protocol):
    async def hold(self, call: ToolCall, *, rules_version: int, account_version: int) -> bytes:
        """Request the person's decision and wait a while. Returns a `CallToolResult` as JSON.

        It is the call's own if the person approved in time; else it says what the agent should do.
        """
        ...
