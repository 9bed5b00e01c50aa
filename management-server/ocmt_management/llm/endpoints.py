"""The user's model choice and the keys for it; usage, costs and budgets."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from ocmt_common.problems import Problem
from ocmt_common.user_ids import UserId
from starlette.responses import StreamingResponse

from ocmt_management.auth.dependencies import AdminUser, CurrentUser
from ocmt_management.auth.service import existing_users
from ocmt_management.db import after_commit
from ocmt_management.dependencies import Clock, Database, Transaction
from ocmt_management.llm import choice as choices
from ocmt_management.llm.catalogue import MOST_SHOWN, NoList, matching
from ocmt_management.llm.dependencies import Llm, UserModelChoice
from ocmt_management.llm.own_server import own_server_url
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.providers import PROVIDERS, ProviderId
from ocmt_management.llm.repository import ModelRepository, UsageRepository
from ocmt_management.llm.schemas import ModelAnswer, ModelRequest, ModelsAnswer
from ocmt_management.llm.usage_report import UsageReport, days_between, exported
from ocmt_management.llm.usage_schemas import (
    AdminUsageAnswer,
    BudgetRequest,
    BudgetsAnswer,
    TimeZoneRequest,
    UsageAnswer,
)
from ocmt_management.vault.dependencies import KeyRing
from ocmt_management.vault.service import SecretValue

router = APIRouter(prefix="/api/model")


@router.get("")
async def show_model(choice: UserModelChoice) -> ModelAnswer:
    return await choice.answer()


@router.put("")
async def choose_model(
    *,
    body: ModelRequest,
    user: CurrentUser,
    llm: Llm,
    database: Database,
    keys: KeyRing,
    clock: Clock,
) -> ModelAnswer:
    provider, key_check = PROVIDERS[body.provider], None
    server = None if body.url is None else own_server_url(body.url, llm.settings)
    if server is not None or (body.key is not None and body.provider is not ProviderId.DEMO):
        key = None if body.key is None else SecretValue(body.key.get_secret_value())
        if provider.own and server is None:
            async with database.read() as session:
                server = await ModelRepository(session).own_server(user.user_id)
        if not provider.own or server is not None:
            key_check = await llm.catalogue.check(provider, Access(key, server))
    async with database.write() as session:
        choice = choices.UserModelChoice(session, keys, clock, user.user_id)
        await choice.choose(body, server=server)
        answer = await choice.answer(key_check=key_check)
    await llm.model_changed(user.user_id)
    return answer


@router.get("/models")
async def list_models(
    *,
    user: CurrentUser,
    llm: Llm,
    database: Database,
    keys: KeyRing,
    clock: Clock,
    provider: ProviderId,
    search: Annotated[str, Query(max_length=100)] = "",
) -> ModelsAnswer:
    """The models that the user's key may use; suggestions without a key or the provider's list."""
    chosen, problem = PROVIDERS[provider], None
    async with database.write() as session:
        choice = choices.UserModelChoice(session, keys, clock, user.user_id)
        access = await choice.access_for_list(chosen)
    names = list(chosen.suggestions)
    if access is not None:
        try:
            names = await llm.catalogue.models(user.user_id, chosen, access)
        except NoList as error:
            problem = str(error)
    found = matching(names, search)
    return ModelsAnswer(models=found[:MOST_SHOWN], more=len(found) > MOST_SHOWN, problem=problem)


@router.delete("/keys/{provider}", status_code=204)
async def delete_key(
    *,
    provider: ProviderId,
    user: CurrentUser,
    llm: Llm,
    database: Database,
    keys: KeyRing,
    clock: Clock,
) -> None:
    async with database.write() as session:
        choice = choices.UserModelChoice(session, keys, clock, user.user_id)
        await choice.delete_key(PROVIDERS[provider])
    await llm.model_changed(user.user_id)


usage_router = APIRouter()

_EARLIEST, _LATEST = date(2020, 1, 1), date(2100, 1, 1)
First = Annotated[date | None, Query(alias="from", ge=_EARLIEST, le=_LATEST)]
Last = Annotated[date | None, Query(alias="to", ge=_EARLIEST, le=_LATEST)]


@usage_router.get("/api/usage")
async def show_usage(
    user: CurrentUser, db: Transaction, clock: Clock, first: First = None, last: Last = None
) -> UsageAnswer:
    return await UsageReport(db, clock).of_user(user.user_id, first, last)


@usage_router.put("/api/usage/time-zone", status_code=204)
async def set_time_zone(
    body: TimeZoneRequest, user: CurrentUser, llm: Llm, db: Transaction
) -> None:
    await UsageRepository(db).set_time_zone(user.user_id, body.time_zone)
    after_commit(db, lambda: llm.budgets_changed(user.user_id))


@usage_router.get("/api/usage/export", response_class=StreamingResponse)
async def export_usage(
    user: CurrentUser, database: Database, clock: Clock, first: First = None, last: Last = None
) -> StreamingResponse:
    return _csv(database, clock, first, last, user_id=user.user_id)


@usage_router.get("/api/admin/usage")
async def show_all_usage(
    *,
    _: AdminUser,
    db: Transaction,
    clock: Clock,
    llm: Llm,
    first: First = None,
    last: Last = None,
) -> AdminUsageAnswer:
    llm.prices.refresh()
    return await UsageReport(db, clock).of_all(first, last, prices_problem=llm.prices.problem)


@usage_router.get("/api/admin/usage/export", response_class=StreamingResponse)
async def export_all_usage(
    _: AdminUser, database: Database, clock: Clock, first: First = None, last: Last = None
) -> StreamingResponse:
    return _csv(database, clock, first, last, user_id=None)


@usage_router.get("/api/admin/budgets")
async def list_budgets(_: AdminUser, db: Transaction, clock: Clock) -> BudgetsAnswer:
    return await UsageReport(db, clock).budgets()


@usage_router.put("/api/admin/budgets/total")
async def set_total_budget(
    body: BudgetRequest, _: AdminUser, llm: Llm, db: Transaction, clock: Clock
) -> BudgetsAnswer:
    await UsageRepository(db).set_budget(None, body.limits(), clock())
    after_commit(db, lambda: llm.budgets_changed(None))
    return await UsageReport(db, clock).budgets()


@usage_router.put("/api/admin/budgets/users/{user_id}")
async def set_user_budget(
    *, user_id: UserId, body: BudgetRequest, _: AdminUser, llm: Llm, db: Transaction, clock: Clock
) -> BudgetsAnswer:
    if not await existing_users(db, {user_id}):
        raise Problem(404, "user-unknown", "This user does not exist. Reload the list.")
    await UsageRepository(db).set_budget(user_id, body.limits(), clock())
    after_commit(db, lambda: llm.budgets_changed(user_id))
    return await UsageReport(db, clock).budgets()


def _csv(
    database: Database, clock: Clock, first: date | None, last: date | None, *, user_id: str | None
) -> StreamingResponse:
    first, last = days_between(first, last, today=clock().date())
    return StreamingResponse(
        exported(database, user_id=user_id, first=first, last=last),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="ocmt-usage.csv"'},
    )
