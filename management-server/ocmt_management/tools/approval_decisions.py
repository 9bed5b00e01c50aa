"""Applies a decision to a waiting approval, within one transaction."""

from ocmt_common.problems import Problem

from ocmt_management.tools.approval_models import ToolApproval
from ocmt_management.tools.approval_states import ApprovalState, Decision, Delivery, Event
from ocmt_management.tools.approval_store import UserApprovals


async def decide(
    mine: UserApprovals, row: ToolApproval, decision: Decision, *, version: int
) -> Problem | None:
    """Apply a person's decision. Returns a refusal, for the caller to raise after the commit."""
    if row.state != ApprovalState.WAITING:
        return _decided_before(row)
    if row.expires_at <= mine.now:
        await expire(mine, row)
        return _decided_before(row)
    if row.version != version:
        return _changed()
    decided = {"decision": decision, "decided_at": mine.now}
    if decision is Decision.NO:
        await mine.rows.move(row, Event.DENY, **decided, finished_at=mine.now)
    elif not await mine.still_as_asked(row):
        return _changed() if row.state == ApprovalState.WAITING else _decided_before(row)
    else:
        rules_version = row.rules_version
        if decision is Decision.ALWAYS:
            rules_version = await mine.allow_always(row)
        await mine.rows.move(row, Event.APPROVE, **decided, rules_version=rules_version)
    mine.audit.record(
        "tool.decided",
        user_id=row.user_id,
        actor=row.user_id,
        subject=f"{row.server}: {row.tool}",
        detail=f"{decision} (number {row.number})",
    )
    return None


async def expire(mine: UserApprovals, row: ToolApproval) -> None:
    """Expire a waiting approval, without waking the agent."""
    held = row.delivery == Delivery.HELD and row.held_until > mine.now
    delivery = Delivery.HELD if held else Delivery.DONE
    await mine.rows.move(row, Event.EXPIRE, finished_at=mine.now, delivery=delivery)


def _changed() -> Problem:
    return Problem(
        409,
        "approval-changed",
        "This call has changed since it was shown to you, so nothing was decided. Check it again.",
    )


def _decided_before(row: ToolApproval) -> Problem:
    if row.state == ApprovalState.EXPIRED:
        return Problem(
            409, "approval-expired", "This call has expired. Ask your agent to make it again."
        )
    if row.detail is not None:
        return Problem(409, "approval-refused", row.detail)
    return Problem(409, "approval-decided", "This call was decided before, perhaps in another tab.")
