"""`GET /health`: the state of each dependency, with the cure, within 2 s; and `GET /metrics`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter
from ocmt_common.agent_api import Wire
from ocmt_common.loopback import is_loopback
from ocmt_common.problems import Problem
from ocmt_common.version import release_version
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ocmt_management.agents.dependencies import Agents
from ocmt_management.dependencies import Database
from ocmt_management.llm.dependencies import Llm
from ocmt_management.mail.dependencies import MailQueue
from ocmt_management.mail.service import MailFailure
from ocmt_management.migrations import known_migrations, lacking_migrations
from ocmt_management.tools.dependencies import Tools
from ocmt_management.vault.dependencies import KeyRing

router = APIRouter()

VERSION = release_version("ocmt-management")
# As of the start: later, the checkout may have the migrations of the next release.
_MIGRATIONS = known_migrations()
_CHECK_TIMEOUT_S = 1.5
_FORWARDED = frozenset({"forwarded", "via", "x-forwarded-for", "x-real-ip"})
"""Headers of requests that came through a front on this machine."""


class Check(Wire):
    ok: bool
    detail: str | None = None
    """What is wrong and what to do; `None` if nothing is."""


class Checks(Wire):
    database: Check
    agent_server: Check
    mail: Check


class Health(Wire):
    status: Literal["ok", "degraded"]
    version: str
    checks: Checks


@router.get("/health")
async def health(
    database: Database, agents: Agents, mail_queue: MailQueue, response: Response
) -> Health:
    database_check, agent_server = await asyncio.gather(
        _check(lambda: _check_database(database), "The database"),
        _check(agents.check_server, "The agent server"),
    )
    mail = _mail(mail_queue.failure)
    if not database_check.ok:
        response.status_code = 503
    return Health(
        status="ok" if database_check.ok and agent_server.ok and mail.ok else "degraded",
        version=VERSION,
        checks=Checks(database=database_check, agent_server=agent_server, mail=mail),
    )


@router.get("/metrics")
async def metrics(request: Request, llm: Llm, tools: Tools, keys: KeyRing) -> Response:
    """Metrics for Prometheus. Only for this machine, since browsers reach this port, too."""
    if not _is_of_this_machine(request):
        raise HTTPException(404)
    text = llm.metrics.text() + tools.metrics.text() + _vault_keys(keys)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _vault_keys(keys: KeyRing) -> bytes:
    """The ids of the keys in use; the one that encrypts has the value 1."""
    lines = [
        "# HELP ocmt_vault_key 1 for the key of VAULT_KEY that encrypts, 0 for those that decrypt.",
        "# TYPE ocmt_vault_key gauge",
        *(f'ocmt_vault_key{{id="{one}"}} {int(one == keys.current_id)}' for one in keys.ids),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _is_of_this_machine(request: Request) -> bool:
    forwarded = not _FORWARDED.isdisjoint(request.headers)
    return request.client is not None and is_loopback(request.client.host) and not forwarded


def _mail(failure: MailFailure | None) -> Check:
    """Check mail by its last attempt. The reply is only logged, since /health is public."""
    if failure is None:
        return Check(ok=True)
    code = "" if failure.code is None else f" (reply {failure.code})"
    cure = failure.cure[0].upper() + failure.cure[1:]
    return Check(ok=False, detail=f"Mail is not sent{code}. {cure}. The log has the reply.")


async def _check_database(database: Database) -> None:
    revision = await database.check()
    if lacking := lacking_migrations(revision, _MIGRATIONS):
        raise Problem(
            503,
            "database-unavailable",
            f"The database is at revision {revision}, and this release needs its migrations "
            f"{', '.join(lacking)}. Operator: `./ocmt deploy` runs them, and so does the server's "
            "start without --migrated.",
        )


async def _check(check: Callable[[], Awaitable[None]], what: str) -> Check:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return Check(
            ok=False,
            detail=f"{what} did not answer within {_CHECK_TIMEOUT_S} s. Check that it runs and is "
            "not overloaded.",
        )
    except Problem as problem:
        return Check(ok=False, detail=problem.detail)
    return Check(ok=True)
