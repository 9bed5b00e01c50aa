"""The keys of providers that admins share."""

from fastapi import APIRouter
from ocmt_common.problems import Problem

from ocmt_management.auth.dependencies import AdminUser
from ocmt_management.dependencies import Clock, Database, Transaction
from ocmt_management.llm.dependencies import Llm
from ocmt_management.llm.own_server import own_server_url
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.providers import PROVIDERS, Provider, ProviderId
from ocmt_management.llm.schemas import SharedKeyRequest, SharedKeysAnswer
from ocmt_management.llm.shared_keys import SharedKeys
from ocmt_management.vault.dependencies import KeyRing
from ocmt_management.vault.service import SecretValue

router = APIRouter(prefix="/api/admin/shared-keys")


@router.get("")
async def list_shared_keys(
    admin: AdminUser, db: Transaction, keys: KeyRing, clock: Clock
) -> SharedKeysAnswer:
    return await SharedKeys(db, keys, clock, admin.user_id).answer()


@router.put("/{provider}")
async def share_key(
    *,
    provider: ProviderId,
    body: SharedKeyRequest,
    admin: AdminUser,
    llm: Llm,
    database: Database,
    keys: KeyRing,
    clock: Clock,
) -> SharedKeysAnswer:
    shared = _shareable(provider)
    server = None if body.url is None else own_server_url(body.url, llm.settings)
    key_check = None
    if body.key is not None or server is not None:
        key = None if body.key is None else SecretValue(body.key.get_secret_value())
        async with database.read() as session:
            stored = await SharedKeys(session, keys, clock, admin.user_id).stored_access(shared)
        access = Access(key, server or stored.server, shared=True)
        if not shared.own or access.server is not None:
            key_check = await llm.catalogue.check(shared, access)
    async with database.write() as session:
        shared_keys = SharedKeys(session, keys, clock, admin.user_id)
        await shared_keys.put(shared, body, server)
        answer = await shared_keys.answer(key_check=key_check)
    llm.shared_keys_changed()
    return answer


@router.delete("/{provider}", status_code=204)
async def stop_sharing_key(
    *,
    provider: ProviderId,
    admin: AdminUser,
    llm: Llm,
    database: Database,
    keys: KeyRing,
    clock: Clock,
) -> None:
    async with database.write() as session:
        await SharedKeys(session, keys, clock, admin.user_id).delete(_shareable(provider))
    llm.shared_keys_changed()


def _shareable(provider: ProviderId) -> Provider:
    if provider is ProviderId.DEMO:
        raise Problem(422, "key-not-needed", "The demo model takes no key, so none is shared.")
    return PROVIDERS[provider]
