"""The signed-in user's own account: their data to take along, and its deletion."""

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from ocmt_management.agents.dependencies import Reconciler
from ocmt_management.audit.service import Audit
from ocmt_management.auth.dependencies import CurrentUser, OwnAccount
from ocmt_management.auth.service import check_deletion
from ocmt_management.db import after_commit
from ocmt_management.dependencies import Clock, Database, Transaction
from ocmt_management.integrations.dependencies import Integrations
from ocmt_management.llm.dependencies import Llm
from ocmt_management.me.export import exported
from ocmt_management.me.schemas import AccountDeletion
from ocmt_management.tools.dependencies import Tools
from ocmt_management.vault.dependencies import Vault

router = APIRouter(prefix="/api/account")


@router.get("/export", response_class=StreamingResponse)
async def export_account(user: CurrentUser, database: Database, clock: Clock) -> StreamingResponse:
    async with database.write() as session:
        Audit(session, clock).record("account.exported", user_id=user.user_id, actor=user.user_id)
    return StreamingResponse(
        exported(database, user_id=user.user_id, email=user.email),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="ocmt-account.json"'},
    )


@router.post("/deletion", status_code=202)
async def delete_account(
    *,
    body: AccountDeletion,
    user: CurrentUser,
    account: OwnAccount,
    vault: Vault,
    llm: Llm,
    tools: Tools,
    integrations: Integrations,
    reconciler: Reconciler,
    database: Database,
    db: Transaction,
) -> None:
    """Begin to delete the account, with the agent and all its files. It cannot be undone."""
    user_id = user.user_id
    async with database.read() as session:
        await check_deletion(session, user_id, confirmation=body.email)
    await integrations.disconnect_all(user_id)  # before the transaction: it asks the providers
    await account.delete(user_id, confirmation=body.email)
    await vault.shred(user_id, actor=user_id)
    after_commit(db, lambda: llm.user_changed(user_id))
    after_commit(db, lambda: tools.user_changed(user_id))
    after_commit(db, lambda: reconciler.status_changed(user_id))
