"""The states of an approval, and when it needs attention next. Pure.

A call runs at most once because `RUNNING` is entered only from `APPROVED` and no transition leads
back. If a process dies while it runs a call, its lease expires and the approval becomes
`UNCERTAIN`: the call may or may not have reached its server.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ocmt_management.tools.calls import Standing
from ocmt_management.tools.models import Rule

EXPIRES_AFTER = timedelta(hours=24)
MAIL_AFTER = timedelta(minutes=1)


class ApprovalState(StrEnum):
    WAITING = "waiting"
    """Waits for the person's decision."""
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """The call's result is an error."""
    UNCERTAIN = "uncertain"
    """The process that ran the call died. The call is never repeated."""


class Event(StrEnum):
    APPROVE = "approve"
    DENY = "deny"
    EXPIRE = "expire"
    ASK_AGAIN = "ask again"
    """What the person saw has changed."""
    REFUSE = "refuse"
    """A rule denies the tool now, or the tool is gone."""
    BEGIN = "begin"
    SUCCEED = "succeed"
    FAIL = "fail"
    LOSE = "lose"
    """The process that ran the call is gone."""


_TRANSITIONS = {
    (ApprovalState.WAITING, Event.APPROVE): ApprovalState.APPROVED,
    (ApprovalState.WAITING, Event.DENY): ApprovalState.DENIED,
    (ApprovalState.WAITING, Event.EXPIRE): ApprovalState.EXPIRED,
    (ApprovalState.WAITING, Event.ASK_AGAIN): ApprovalState.WAITING,
    (ApprovalState.WAITING, Event.REFUSE): ApprovalState.DENIED,
    (ApprovalState.APPROVED, Event.ASK_AGAIN): ApprovalState.WAITING,
    (ApprovalState.APPROVED, Event.REFUSE): ApprovalState.DENIED,
    (ApprovalState.APPROVED, Event.BEGIN): ApprovalState.RUNNING,
    (ApprovalState.RUNNING, Event.SUCCEED): ApprovalState.DONE,
    (ApprovalState.RUNNING, Event.FAIL): ApprovalState.FAILED,
    (ApprovalState.RUNNING, Event.LOSE): ApprovalState.UNCERTAIN,
    # The lease had expired although the process was alive and finished the call.
    (ApprovalState.UNCERTAIN, Event.SUCCEED): ApprovalState.DONE,
    (ApprovalState.UNCERTAIN, Event.FAIL): ApprovalState.FAILED,
}

OPEN = frozenset({ApprovalState.WAITING, ApprovalState.APPROVED, ApprovalState.RUNNING})
"""An identical call joins an approval in one of these states."""
TOLD = frozenset(
    {ApprovalState.DENIED, ApprovalState.DONE, ApprovalState.FAILED, ApprovalState.UNCERTAIN}
)
"""Outcomes that are delivered to the agent. An expired approval does not wake it."""


class Decision(StrEnum):
    ONCE = "once"
    ALWAYS = "always"
    """Run this call, and from now on every call of exactly this definition."""
    NO = "no"


class Delivery(StrEnum):
    """How the outcome reaches the agent."""

    HELD = "held"
    """As the response to the call's request, which waits until `held_until`."""
    DUE = "due"
    """As a message in its conversation."""
    DONE = "done"


class ApprovalChange(StrEnum):
    """What has changed since the person was last asked to decide."""

    DEFINITION = "definition"
    RULE = "rule"
    CREDENTIAL = "credential"
    SERVER = "server"
    """The server's address or settings."""
    ACCOUNT = "account"
    """The person was suspended meanwhile."""


def after(state: ApprovalState, event: Event) -> ApprovalState | None:
    """The state after `event`; `None` if the state has no such event."""
    return _TRANSITIONS.get((state, event))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The versions of what the person saw when asked to decide."""

    pin: bytes
    server_version: int
    rules_version: int
    account_version: int


def refusal(standing: Standing) -> str | None:
    """Why the call must not run now; `None` if it may."""
    if standing.rule is Rule.DENY:
        return "A rule denies this tool now."
    if standing.pin is None:
        return "The tool is no longer connected, or its definition has to be accepted again first."
    return None


def changes(asked: Asked, standing: Standing, *, server_version: int) -> frozenset[ApprovalChange]:
    """The changes that the person has to see before the call may run."""
    found: set[ApprovalChange] = set()
    if server_version != asked.server_version:
        found.add(ApprovalChange.SERVER)
    if standing.pin != asked.pin:
        found.add(ApprovalChange.DEFINITION)
    if standing.account_version != asked.account_version:
        found.add(ApprovalChange.CREDENTIAL)
    # After "always" the tool needs no further decision, so its changed rule does not matter.
    if standing.rule is Rule.ASK and standing.rules_version != asked.rules_version:
        found.add(ApprovalChange.RULE)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The times from which `next_attention` is computed."""

    created_at: datetime
    expires_at: datetime
    lease_until: datetime | None
    held_until: datetime
    deliver_at: datetime
    mail_at: datetime | None
    """When to mail the person; `None` if that is done or no mail server is set."""


def next_attention(state: ApprovalState, delivery: Delivery, times: Times) -> datetime | None:
    """When the approval needs attention next; `None` for never."""
    if state is ApprovalState.WAITING:
        return min(times.expires_at, times.mail_at or times.expires_at)
    if state is ApprovalState.APPROVED:
        return times.created_at
    if state is ApprovalState.RUNNING:
        return times.lease_until
    if state not in TOLD or delivery is Delivery.DONE:
        return None
    return times.held_until if delivery is Delivery.HELD else times.deliver_at
