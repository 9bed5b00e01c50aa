"""`GET /health`: what works, what does not, and the cure, within two seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter
from ocmt_common.agent_api import Wire
from ocmt_common.problems import Problem
from ocmt_common.version import release_version
from starlette.responses import Response

from ocmt_management.dependencies import Server
from ocmt_management.mail.failures import MailFailure

router = APIRouter()

VERSION = release_version("ocmt-management")
_CHECK_TIMEOUT_S = 1.5


class Check(Wire):
    ok: bool
    detail: str | None = None
    """What is wrong and what to do; `None` when it is fine."""


class Checks(Wire):
    database: Check
    agent_server: Check
    mail: Check


class Health(Wire):
    status: Literal["ok", "degraded"]
    version: str
    checks: Checks


@router.get("/health")
async def health(server: Server, response: Response) -> Health:
    database, agent_server = await asyncio.gather(
        _check(server.database.check, "The database"),
        _check(server.check_agent_server, "The agent server"),
    )
    mail = _mail(server.outbox.trouble)
    if not database.ok:
        response.status_code = 503
    return Health(
        status="ok" if database.ok and agent_server.ok and mail.ok else "degraded",
        version=VERSION,
        checks=Checks(database=database, agent_server=agent_server, mail=mail),
    )


def _mail(trouble: MailFailure | None) -> Check:
    """By the last try. The server's own words are in the log only: this is open to anybody."""
    if trouble is None:
        return Check(ok=True)
    code = "" if trouble.code is None else f" (reply {trouble.code})"
    cure = trouble.cure[0].upper() + trouble.cure[1:]
    return Check(ok=False, detail=f"Mail is not sent{code}. {cure}. The log has the reply.")


async def _check(ask: Callable[[], Awaitable[None]], what: str) -> Check:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await ask()
    except TimeoutError:
        return Check(
            ok=False,
            detail=f"{what} did not answer within {_CHECK_TIMEOUT_S} s. Check that it runs and is "
            "not overloaded.",
        )
    except Problem as problem:
        return Check(ok=False, detail=problem.detail)
    return Check(ok=True)
