"""One user's agent as this server knows it: what is stored, and what lives only in memory."""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ocmt_common.agent_api import (
    Actor,
    AgentPolicy,
    Container,
    DiskFigures,
    HibernationState,
    PausedMemory,
)

from ocmt_agent.agents.policies import wishes
from ocmt_agent.disk.policy import Standing
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.hibernation.policy import Wishes
from ocmt_agent.hibernation.waking import ActivityKind
from ocmt_agent.memory.host import AgentMemory
from ocmt_agent.memory.report import agent_memory
from ocmt_agent.runtime.base import AgentSpec, Endpoint, SecretText


@dataclass(slots=True, eq=False)
class Agent:
    """Everything up to `policy` is stored; the rest is this process's own.

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
    number: int = 0
    """Never another agent's, by which its container has a uid of its own; 0 until it is stored."""
    openclaw: str | None = None
    """The OpenClaw that used its state last; `None` before its first start, and in a record of an
    older release. Change it with the registry's `set_openclaw`."""
    next_job_at: datetime | None = None
    """The gateway's next scheduled job, read right before it was put to sleep."""
    suspension_id: str | None = None
    """The gateway's lease under which it sleeps; given back after the thaw."""
    blockers: list[str] = field(default_factory=list)
    failure: str | None = None
    state_who: Actor | None = None
    """Who brought it into its state; `None` in a record of an older release."""
    state_why: str = ""
    asleep_since: datetime | None = None
    """When it first slept after the user's last activity; a wake for a job does not change it."""
    rests_as: HibernationState | None = None
    """How deep it slept last since the user's last activity: where it returns to after a job."""
    disabled: bool = False
    """Kept stopped by order, whatever asks for it."""
    policy: AgentPolicy = field(default_factory=AgentPolicy)
    """The user's own times; change it with `set_policy`."""

    wishes: Wishes = field(default_factory=Wishes)
    """The same, as the decisions take it."""
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
    woken_for: datetime | None = None
    """The job it was woken for and has not slept since."""
    self_wakes: int = 0
    """Wakes by itself since a sleep that noted its jobs: each next one waits longer."""
    wake_again_at: float = 0.0
    """Monotonic seconds before which it is not woken by itself again."""
    jobs_read_at: float = float("-inf")
    """Monotonic seconds at which its gateway was last asked for its next job."""
    memory: AgentMemory | None = None
    """As last measured: at its transitions, and now and then while it is awake."""
    disk: Standing | None = None
    """What it takes of the disk, as last measured."""
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

    def set_policy(self, policy: AgentPolicy) -> None:
        self.policy = policy
        self.wishes = wishes(policy)

    def spec(self) -> AgentSpec:
        return AgentSpec(self.user_id, self.gateway_token, self.agent_token, self.number)

    def access_at(self, endpoint: Endpoint) -> GatewayAccess:
        return GatewayAccess(self.user_id, endpoint, self.gateway_token, self.device)

    @property
    def warning(self) -> str | None:
        return None if self.disk is None else self.disk.warning

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
            disabled=self.disabled,
            paused_memory=self.paused_memory,
            disk=None if self.disk is None else _disk_figures(self.disk),
            warning=self.warning,
        )


def _disk_figures(standing: Standing) -> DiskFigures:
    usage, limit = standing.usage, standing.limit
    return DiskFigures(
        bytes=None if usage is None else usage.bytes,
        files=None if usage is None else usage.files,
        limit_bytes=limit.bytes,
        limit_files=limit.files,
    )


@dataclass(frozen=True, slots=True)
class CpuSample:
    """CPU seconds used by a container, and the monotonic second at which that was read."""

    used_s: float
    at_s: float
