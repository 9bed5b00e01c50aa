"""The signed-in user's approvals: calls that wait for a decision, and the latest others."""

from uuid import UUID

from fastapi import APIRouter

from ocmt_management.auth.dependencies import CurrentUser, PresentUser
from ocmt_management.tools.approval_schemas import ApprovalsAnswer, ApprovalView, DecisionBody
from ocmt_management.tools.dependencies import Approvals

router = APIRouter(prefix="/api/approvals")


@router.get("")
async def list_approvals(user: PresentUser, approvals: Approvals) -> ApprovalsAnswer:
    return ApprovalsAnswer(approvals=await approvals.latest(user.user_id))


@router.post("/{approval_id}/decision")
async def decide(
    approval_id: UUID, body: DecisionBody, user: CurrentUser, approvals: Approvals
) -> ApprovalView:
    return await approvals.decide(
        user.user_id, str(approval_id), body.decision, version=body.version
    )
