"""Administration of users and invitations. Every route here asks for an admin."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from ocmt_common.user_ids import UserId
from starlette.responses import StreamingResponse

from ocmt_management.admin.audit_rows import exported, json_lines, rows
from ocmt_management.admin.schemas import (
    AuditAnswer,
    InvitationRequest,
    InvitationRow,
    InvitationsAnswer,
    UserChange,
    UserDeletion,
    UserRow,
    UsersAnswer,
)
from ocmt_management.audit.service import Audit
from ocmt_management.auth.dependencies import AdminUser
from ocmt_management.auth.models import Invitation, Role, Status, User
from ocmt_management.auth.sessions import Sessions
from ocmt_management.auth.users import People
from ocmt_management.db import after_commit
from ocmt_management.dependencies import Db, Parts, Server
from ocmt_management.vault.service import Vault

router = APIRouter(prefix="/api/admin")


def _people(admin: AdminUser, server: Server, db: Db) -> People:
    return People(
        db,
        admin=admin,
        settings=server.settings,
        clock=server.clock,
        outbox=server.outbox,
        sessions=Sessions(db, server.clock, server.ended),
    )


ByAdmin = Annotated[People, Depends(_people)]


@router.get("/users")
async def list_users(people: ByAdmin, server: Server) -> UsersAnswer:
    return UsersAnswer(users=[_user_row(user, server) for user in await people.users()])


@router.patch("/users/{user_id}")
async def change_user(
    user_id: UserId, body: UserChange, people: ByAdmin, server: Server, db: Db
) -> UserRow:
    user = await people.set_status(user_id, body.status)
    after_commit(db, lambda: _changed(server, user_id))
    return _user_row(user, server)


@router.post("/users/{user_id}/deletion", status_code=202)
async def delete_user(
    *,
    user_id: UserId,
    body: UserDeletion,
    admin: AdminUser,
    people: ByAdmin,
    server: Server,
    db: Db,
) -> UserRow:
    user = await people.delete(user_id, confirmation=body.email)
    await Vault(db, server.keys, server.clock).shred(user_id, actor=admin.user_id)
    after_commit(db, lambda: _changed(server, user_id))
    return _user_row(user, server)


def _changed(server: Parts, user_id: str) -> None:
    server.llm.user_changed(user_id)
    server.reconciler.look(user_id)


@router.get("/invitations")
async def list_invitations(people: ByAdmin) -> InvitationsAnswer:
    return InvitationsAnswer(
        invitations=[_invitation_row(row) for row in await people.invitations()]
    )


@router.post("/invitations", status_code=201)
async def invite(body: InvitationRequest, people: ByAdmin) -> InvitationRow:
    return _invitation_row(await people.invite(body.email))


@router.delete("/invitations/{invitation_id}", status_code=204)
async def revoke_invitation(invitation_id: UUID, people: ByAdmin) -> None:
    await people.revoke(str(invitation_id))


@router.get("/audit")
async def read_audit(
    _: AdminUser,
    server: Server,
    db: Db,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    user: Annotated[UserId | None, Query()] = None,
) -> AuditAnswer:
    events = await Audit(db, server.clock).latest(limit=limit, before=before, user_id=user)
    return AuditAnswer(
        events=await rows(db, events), earlier=events[-1].id if len(events) == limit else None
    )


@router.get("/audit/export", response_class=StreamingResponse)
async def export_audit(
    admin: AdminUser, server: Server, user: Annotated[UserId | None, Query()] = None
) -> StreamingResponse:
    """The whole trail, a JSON object a line, oldest first. That it was exported is in it."""
    async with server.database.write() as session:
        Audit(session, server.clock).record(
            "audit.exported", user_id=admin.user_id, actor=admin.user_id
        )
    batches = exported(server.database, user_id=user)
    return StreamingResponse(
        (json_lines(batch) async for batch in batches),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="ocmt-audit.ndjson"'},
    )


def _user_row(user: User, server: Parts) -> UserRow:
    return UserRow(
        id=user.id,
        email=user.email,
        role=Role(user.role),
        status=Status(user.status),
        created_at=user.created_at,
        last_sign_in_at=user.last_sign_in_at,
        pending=server.reconciler.pending(user.id, Status(user.status)),
    )


def _invitation_row(row: Invitation) -> InvitationRow:
    return InvitationRow(
        id=row.id, email=row.email, created_at=row.created_at, expires_at=row.expires_at
    )
