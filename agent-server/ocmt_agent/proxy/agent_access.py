"""How the proxy asks for an awake agent, without knowing how waking works."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.access import GatewayAccess


class Waking(Protocol):
    async def awake(self, user_id: str, *, kind: ActivityKind) -> GatewayAccess:
        """Record activity and return once the user's gateway really answers, waking it if needed.

        For an agent that is already running this is a dictionary look-up. Concurrent callers share
        one wake. Raises `Problem`: 404 no such agent, 503 with `Retry-After` when the runtime is
        gone, 504 when the gateway did not come up in time, 409 when the agent is being removed.
        """
        ...

    def using(
        self, user_id: str, *, kind: ActivityKind
    ) -> AbstractAsyncContextManager[GatewayAccess]:
        """`awake`, and the agent is not put to sleep until the block ends (a request in flight)."""
        ...

    def doubt(self, access: GatewayAccess) -> None:
        """The gateway did not answer there: have it looked at before anybody uses it again."""
        ...
