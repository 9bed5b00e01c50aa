"""Administration of users, invitations and agents. Every route here requires an admin."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from ocmt_common.problems import Problem
from ocmt_common.user_ids import UserId
from starlette.responses import StreamingResponse

from ocmt_management.admin.audit_rows import exported, json_lines, rows
from ocmt_management.admin.schemas import (
    AgentsAnswer,
    AuditAnswer,
    InvitationLink,
    InvitationOutcome,
    InvitationOutcomes,
    InvitationRequest,
    InvitationRow,
    InvitationsAnswer,
    InvitationsRequest,
    UserChange,
    UserDeletion,
    UserRow,
    UsersAnswer,
)
from ocmt_management.agents.dependencies import Agents, Reconciler
from ocmt_management.agents.service import AgentView
from ocmt_management.audit import service as audit_service
from ocmt_management.audit.dependencies import Audit
from ocmt_management.auth.dependencies import AdminUser, UserAdministration
from ocmt_management.auth.service import Invitation, Role, Status, User, check_deletion
from ocmt_management.db import after_commit
from ocmt_management.dependencies import Clock, Database, Transaction
from ocmt_management.integrations.dependencies import Integrations
from ocmt_management.llm.dependencies import Llm
from ocmt_management.tools.dependencies import Tools
from ocmt_management.vault.dependencies import Vault

router = APIRouter(prefix="/api/admin")


@router.get("/users")
async def list_users(users: UserAdministration, reconciler: Reconciler) -> UsersAnswer:
    return UsersAnswer(users=[_user_row(user, reconciler) for user in await users.users()])


@router.patch("/users/{user_id}")
async def change_user(
    *,
    user_id: UserId,
    body: UserChange,
    users: UserAdministration,
    llm: Llm,
    tools: Tools,
    reconciler: Reconciler,
    db: Transaction,
) -> UserRow:
    if body.role is not None:
        user = await users.set_role(user_id, body.role)
    if body.status is not None:
        user = await users.set_status(user_id, body.status)
    after_commit(db, lambda: llm.user_changed(user_id))
    after_commit(db, lambda: tools.user_changed(user_id))
    after_commit(db, lambda: reconciler.status_changed(user_id))
    return _user_row(user, reconciler)


@router.post("/users/{user_id}/deletion", status_code=202)
async def delete_user(
    *,
    user_id: UserId,
    body: UserDeletion,
    admin: AdminUser,
    users: UserAdministration,
    vault: Vault,
    llm: Llm,
    tools: Tools,
    integrations: Integrations,
    database: Database,
    reconciler: Reconciler,
    db: Transaction,
) -> UserRow:
    async with database.read() as session:
        await check_deletion(session, user_id, confirmation=body.email)
    await integrations.disconnect_all(user_id)  # before the transaction: it asks the providers
    user = await users.delete(user_id, confirmation=body.email)
    await vault.shred(user_id, actor=admin.user_id)
    after_commit(db, lambda: llm.user_changed(user_id))
    after_commit(db, lambda: tools.user_changed(user_id))
    after_commit(db, lambda: reconciler.status_changed(user_id))
    return _user_row(user, reconciler)


@router.get("/invitations")
async def list_invitations(users: UserAdministration) -> InvitationsAnswer:
    return InvitationsAnswer(
        invitations=[_invitation_row(row) for row in await users.invitations()]
    )


@router.post("/invitations", status_code=201)
async def invite(body: InvitationRequest, users: UserAdministration) -> InvitationRow:
    return _invitation_row(await users.invite(body.email))


@router.post("/invitations/bulk")
async def invite_many(body: InvitationsRequest, users: UserAdministration) -> InvitationOutcomes:
    outcomes = []
    for email in dict.fromkeys(body.emails):
        try:
            await users.invite(email)
            outcomes.append(InvitationOutcome(email=email, invited=True, detail=None))
        except Problem as problem:
            if problem.code != "already-user":
                raise
            outcomes.append(InvitationOutcome(email=email, invited=False, detail=problem.detail))
    return InvitationOutcomes(outcomes=outcomes)


@router.post("/invitations/{invitation_id}/link", status_code=201)
async def make_invitation_link(invitation_id: UUID, users: UserAdministration) -> InvitationLink:
    link, expires_at = await users.invitation_link(str(invitation_id))
    return InvitationLink(link=link, expires_at=expires_at)


@router.delete("/invitations/{invitation_id}", status_code=204)
async def revoke_invitation(invitation_id: UUID, users: UserAdministration) -> None:
    await users.revoke(str(invitation_id))


@router.get("/agents")
async def list_agents(_: AdminUser, agents: Agents) -> AgentsAnswer:
    return AgentsAnswer(agents=await agents.rows())


@router.post("/agents/{user_id}/token", status_code=202)
async def renew_token(
    user_id: UserId, admin: AdminUser, agents: Agents, llm: Llm, tools: Tools
) -> AgentView:
    await agents.renew_token(user_id, actor=admin.user_id)
    llm.user_changed(user_id)
    tools.user_changed(user_id)
    return await agents.view(user_id)


@router.get("/audit")
async def read_audit(
    *,
    _: AdminUser,
    audit: Audit,
    db: Transaction,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    user: Annotated[UserId | None, Query()] = None,
) -> AuditAnswer:
    events = await audit.latest(limit=limit, before=before, user_id=user)
    return AuditAnswer(
        events=await rows(db, events), earlier=events[-1].id if len(events) == limit else None
    )


@router.get("/audit/export", response_class=StreamingResponse)
async def export_audit(
    admin: AdminUser,
    database: Database,
    clock: Clock,
    user: Annotated[UserId | None, Query()] = None,
) -> StreamingResponse:
    """Download the audit trail as JSON lines, oldest first. The export itself is audited."""
    async with database.write() as session:
        audit_service.Audit(session, clock).record(
            "audit.exported", user_id=admin.user_id, actor=admin.user_id
        )
    batches = exported(database, user_id=user)
    return StreamingResponse(
        (json_lines(batch) async for batch in batches),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="ocmt-audit.ndjson"'},
    )


def _user_row(user: User, reconciler: Reconciler) -> UserRow:
    return UserRow(
        id=user.id,
        email=user.email,
        role=Role(user.role),
        status=Status(user.status),
        created_at=user.created_at,
        last_sign_in_at=user.last_sign_in_at,
        pending=reconciler.pending(user.id, Status(user.status)),
    )


def _invitation_row(row: Invitation) -> InvitationRow:
    return InvitationRow(
        id=row.id, email=row.email, created_at=row.created_at, expires_at=row.expires_at
    )
