"""One agent, a user's or a spare: its stored record, and what is kept only in memory."""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from ocmt_common.agent_api import (
    Actor,
    AgentModel,
    AgentPolicy,
    Container,
    DiskFigures,
    HibernationState,
    MemoryFigures,
    PausedMemory,
)

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.disk_limit import Standing
from ocmt_agent.decisions.sleep_policy import Wishes
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.records.idle_clock import idle_time
from ocmt_agent.records.policy_mapping import wishes
from ocmt_agent.runtime.base import AgentSpec, Endpoint, SecretText


@dataclass(slots=True, eq=False)
class Agent:
    """One agent. The fields up to `policy` are stored; the others are only in memory.

    `state` is the recorded state. `access` is set only once the gateway has answered this process,
    so an agent loaded from the database is checked before it is used.
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
    """Unique and never reused; its container's uid derives from it. 0 until it is stored."""
    openclaw: str | None = None
    """The OpenClaw version that last used the agent's state; `None` before its first start, and in
    a record of an older release. Change it with the registry's `set_openclaw`."""
    tools_version: int = 0
    """Management's version of the user's tools, written to the gateway's configuration. Change it
    with the registry's `set_tools_version`."""
    model: AgentModel = field(default_factory=AgentModel)
    """The shape of the user's model, written to the gateway's configuration. Change it with the
    registry's `set_model`."""
    next_job_at: datetime | None = None
    """The time of the gateway's next scheduled job, last read while it was awake; `None` if there
    was none, or before it is read."""
    suspension_id: str | None = None
    """The id of the gateway's lease until it is given back after the thaw; `None` without one.

    `ASKED` from the request to the answer, `NO_LEASE` for a gateway without suspension.
    """
    blockers: list[str] = field(default_factory=list)
    failure: str | None = None
    state_who: Actor | None = None
    """The actor that caused the current state; `None` before the first change of state, and in a
    record of an older release."""
    state_why: str = ""
    asleep_since: datetime | None = None
    """When it first slept after the user's last activity, if it has; wakes for jobs do not change
    it."""
    rests_as: HibernationState | None = None
    """The state it returns to after a job: stopped if it was since the user's last activity, else
    paused; `None` if it has not slept since."""
    container_token: SecretText | None = None
    """The token in the container of an agent that was made beforehand, and so had its container
    before it had a user; the relay replaces it. `None` for other agents, whose containers have the
    agent token, and from the user's next agent token on."""
    spare: bool = False
    """Made beforehand, and not claimed by a user yet; `user_id` is then its home."""
    held: bool = False
    """Of a spare: its gateway waits before it reads its state, for that of a stopped agent."""
    old_home: str | None = None
    """The home from which its state is being moved, until that home is removed."""
    disabled: bool = False
    """Kept stopped by an operator: neither requests nor jobs wake it."""
    policy: AgentPolicy = field(default_factory=AgentPolicy)
    """The user's own policy; change it with `set_policy`."""

    wishes: Wishes = field(default_factory=Wishes)
    """`policy` in the form that `decisions` takes."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held during every transition; a request that finds it locked waits for the outcome."""
    access: GatewayAccess | None = None
    waking: "asyncio.Task[GatewayAccess] | None" = None
    in_flight: int = 0
    activities: int = 0
    """Incremented by every activity, so that a transition can detect later ones."""
    removed: bool = False
    claimed_home: str | None = None
    """The home of a spare that was just claimed, until the claim is stored."""
    unsaved: bool = False
    ask_again_at: float = 0.0
    """The monotonic time before which no lease is requested again."""
    cpu: "CpuSample | None" = None
    woken_for: datetime | None = None
    """The time of the job it was woken for, until it sleeps again."""
    self_wakes: int = 0
    """Scheduled wakes since the last sleep; the delay before each is longer than the last."""
    wake_again_at: float = 0.0
    """The monotonic time before which there is no other scheduled wake."""
    jobs_read_at: float = float("-inf")
    """The monotonic time at which the next job was last read from an awake gateway."""
    tools_read_at_s: float = 0.0
    """The monotonic time from which its gateway has read the latest tools version."""
    tools_unread: bool = False
    """Whether the version changed while the gateway was paused or waking."""
    memory: AgentMemory | None = None
    """Its memory as last measured: at transitions, and periodically while it is awake."""
    disk: Standing | None = None
    """Its disk usage as last measured, and its limit."""
    paused_memory: PausedMemory | None = None
    """Where its memory is while it is paused; `None` until measured."""

    @classmethod
    def new(cls, user_id: str, *, agent_token: str, now: datetime) -> "Agent":
        """A new agent to be provisioned, with new credentials for its gateway."""
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

    @classmethod
    def beforehand(cls, home: str, *, held: bool = False, now: datetime) -> "Agent":
        """An agent to be made for a user who is still to come, with credentials of its own.

        `held`: for an agent that is stopped.
        """
        agent = cls.new(home, agent_token=secrets.token_urlsafe(32), now=now)
        agent.container_token = agent.agent_token
        agent.spare, agent.held = True, held
        return agent

    def claim(self, user_id: str, *, agent_token: str, now: datetime) -> None:
        """Become the agent of a user."""
        self.claimed_home, self.user_id = self.user_id, user_id
        self.agent_token = SecretText(agent_token)
        self.spare = False
        self.created_at = now
        self.asleep_since = self.rests_as = self.failure = None
        self.blockers = []

    def unclaim(self) -> None:
        """Undo a claim that could not be stored."""
        if self.claimed_home is not None and self.container_token is not None:
            self.user_id, self.claimed_home = self.claimed_home, None
            self.agent_token, self.spare = self.container_token, True

    def set_policy(self, policy: AgentPolicy) -> None:
        self.policy = policy
        self.wishes = wishes(policy)

    def spec(self) -> AgentSpec:
        return AgentSpec(
            self.user_id,
            self.gateway_token,
            self.container_token or self.agent_token,
            self.number,
            tools_version=self.tools_version,
            heartbeat_minutes=self.policy.heartbeat_minutes,
            model=self.model,
        )

    def access_at(self, endpoint: Endpoint) -> GatewayAccess:
        return GatewayAccess(self.user_id, endpoint, self.gateway_token, self.device)

    @property
    def warning(self) -> str | None:
        return None if self.disk is None else self.disk.warning

    def without_secrets(self, text: str) -> str:
        """`text` (a gateway's output) with this agent's tokens masked."""
        for secret in (self.gateway_token, self.agent_token, self.container_token):
            text = text if secret is None else text.replace(secret, "•••")
        return text

    def container(self, *, now: datetime) -> Container:
        idle = idle_time(self, now=now)
        return Container(
            user_id=self.user_id,
            hibernation_state=self.state,
            idle_minutes=int(idle.total_seconds() // 60),
            last_activity=self.last_activity_at,
            last_activity_kind=self.last_activity_kind,
            state_since=self.state_since,
            awake_because=list(self.blockers),
            failure=self.failure,
            memory=None if self.memory is None else _memory_figures(self.memory),
            disabled=self.disabled,
            paused_memory=self.paused_memory,
            disk=None if self.disk is None else _disk_figures(self.disk),
            warning=self.warning,
            model=self.model,
        )


def _memory_figures(memory: AgentMemory) -> MemoryFigures:
    return MemoryFigures(
        usage=memory.usage,
        anon=memory.anon,
        cache=memory.cache,
        swap=memory.swap,
        compressed=memory.compressed,
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
    """CPU seconds that a container has used, and the monotonic time at which they were read."""

    used_s: float
    at_s: float
