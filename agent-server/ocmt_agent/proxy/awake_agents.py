"""The interface with which the proxy wakes agents."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.access import GatewayAccess


class AwakeAgents(Protocol):
    async def awake(self, user_id: str, *, kind: ActivityKind) -> GatewayAccess:
        """Record activity and return once the user's gateway answers, waking it if needed.

        For a running agent this is a dictionary look-up. Concurrent callers share one wake. Raises
        `Problem`: 404 if there is no such agent, 409 if it is disabled or removed, 503 with
        `Retry-After` if it cannot be woken now (no runtime, no memory, a gateway that exits), 504
        if the gateway does not answer in time, 507 if its disk usage or the host's disk prevents
        its start.
        """
        ...

    def using(
        self, user_id: str, *, kind: ActivityKind
    ) -> AbstractAsyncContextManager[GatewayAccess]:
        """Like `awake`, and keep the agent awake until the block ends (a request in flight)."""
        ...

    def run_ended(self, user_id: str, *, kind: ActivityKind) -> None:
        """Record that the answer to a message of the user ended; wakes nothing."""
        ...

    def doubt(self, access: GatewayAccess) -> None:
        """Report that the gateway did not answer, so that it is checked before its next use."""
        ...
