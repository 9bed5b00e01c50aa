"""Approvals on the wire: in the page's API and in frames of the chat."""

from datetime import datetime

from ocmt_common.agent_api import Command, Wire
from pydantic import Field
from typing_extensions import TypedDict

from ocmt_management.tools.approval_models import ToolApproval
from ocmt_management.tools.approval_states import ApprovalChange, ApprovalState, Decision
from ocmt_management.tools.rules import AlwaysRefused

OUTCOME_KEY_PREFIX = "approval:"
"""The start of the idempotency keys with which outcomes are sent to agents."""


class ApprovalView(TypedDict):
    id: str
    number: int
    server: str
    tool: str
    arguments: str | None
    """Indented JSON in which hidden characters are escaped; `None` once erased."""
    state: ApprovalState
    decision: Decision | None
    detail: str | None
    """Why the call was denied without the person; `None` otherwise."""
    version: int
    """Send it with a decision: a decision about another version is refused."""
    changed: list[ApprovalChange]
    """What changed since the person was first asked."""
    repeats: int | None
    """The number of the previous identical call, which was decided already."""
    alwaysRefused: AlwaysRefused | None
    """Why "always" is not offered for a call that waits; `None` if it is."""
    createdAt: str
    expiresAt: str
    decidedAt: str | None
    finishedAt: str | None


class ApprovalsAnswer(Wire):
    approvals: list[ApprovalView]
    """Newest first: all that are open, and the latest others."""


class DecisionBody(Command):
    decision: Decision
    version: int = Field(ge=1)
    """The version of the approval that the person saw."""


def view(
    row: ToolApproval, *, arguments: str | None, always_refused: AlwaysRefused | None
) -> ApprovalView:
    return {
        "id": row.id,
        "number": row.number,
        "server": row.server,
        "tool": row.tool,
        "arguments": arguments,
        "state": ApprovalState(row.state),
        "decision": None if row.decision is None else Decision(row.decision),
        "detail": row.detail,
        "version": row.version,
        "changed": [ApprovalChange(one) for one in row.changed.split(",") if one],
        "repeats": row.repeats,
        "alwaysRefused": always_refused,
        "createdAt": row.created_at.isoformat(),
        "expiresAt": row.expires_at.isoformat(),
        "decidedAt": _text(row.decided_at),
        "finishedAt": _text(row.finished_at),
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
