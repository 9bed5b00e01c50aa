"""One user's agent as this server knows it: what is stored, and what lives only in memory."""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ocmt_common.agent_api import Container, HibernationState, PausedMemory

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.hibernation.waking import ActivityKind
from ocmt_agent.memory.host import AgentMemory
from ocmt_agent.memory.report import agent_memory
from ocmt_agent.runtime.base import AgentSpec, Endpoint, SecretText


@dataclass(slots=True, eq=False)
class Agent:
    """Everything up to `failure` is stored; the rest is this process's own.

    `state` says what we believe; `access` says that we checked: it is set only after the gateway
    answered us, so an agent read back from the database is always verified before it is used.
    """

    user_id: str
    gateway_token: SecretText
    agent_token: SecretText
    device: DeviceKey
    created_at: datetime
    last_activity_at: datetime
    last_activity_kind: ActivityKind
    state: HibernationState
    state_since: datetime
    next_job_at: datetime | None = None
    """The gateway's next scheduled job, read right before it was put to sleep."""
    suspension_id: str | None = None
    """The gateway's lease under which it sleeps; given back after the thaw."""
    blockers: list[str] = field(default_factory=list)
    failure: str | None = None

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by every transition; a request that finds it taken waits for the outcome."""
    access: GatewayAccess | None = None
    waking: "asyncio.Task[GatewayAccess] | None" = None
    in_flight: int = 0
    activities: int = 0
    """Counts up with every activity, so that a transition sees whether one came in between."""
    removed: bool = False
    unsaved: bool = False
    ask_again_at: float = 0.0
    """Monotonic seconds before which the gateway is not asked again whether it may be frozen."""
    cpu: "CpuSample | None" = None
    memory: AgentMemory | None = None
    """As last measured: at its transitions, and now and then while it is awake."""
    paused_memory: PausedMemory | None = None
    """Where its memory is while it is paused, as measured; `None` until then."""

    @classmethod
    def new(cls, user_id: str, *, agent_token: str, now: datetime) -> "Agent":
        """An agent about to be provisioned, with fresh credentials of ours for its gateway."""
        return cls(
            user_id=user_id,
            gateway_token=SecretText(secrets.token_urlsafe(32)),
            agent_token=SecretText(agent_token),
            device=DeviceKey.generate(),
            created_at=now,
            last_activity_at=now,
            last_activity_kind=ActivityKind.PROVISION,
            state=HibernationState.PROVISIONING,
            state_since=now,
        )

    def spec(self) -> AgentSpec:
        return AgentSpec(self.user_id, self.gateway_token, self.agent_token)

    def access_at(self, endpoint: Endpoint) -> GatewayAccess:
        return GatewayAccess(self.user_id, endpoint, self.gateway_token, self.device)

    def without_secrets(self, text: str) -> str:
        """`text` (a gateway's own words) with this agent's credentials blanked out."""
        return text.replace(self.gateway_token, "•••").replace(self.agent_token, "•••")

    def container(self, *, now: datetime) -> Container:
        idle = max(now - self.last_activity_at, timedelta())
        return Container(
            user_id=self.user_id,
            hibernation_state=self.state,
            idle_minutes=int(idle.total_seconds() // 60),
            last_activity=self.last_activity_at,
            last_activity_kind=self.last_activity_kind,
            state_since=self.state_since,
            awake_because=list(self.blockers),
            failure=self.failure,
            memory=None if self.memory is None else agent_memory(self.memory),
            paused_memory=self.paused_memory,
        )


@dataclass(frozen=True, slots=True)
class CpuSample:
    """CPU seconds used by a container, and the monotonic second at which that was read."""

    used_s: float
    at_s: float
