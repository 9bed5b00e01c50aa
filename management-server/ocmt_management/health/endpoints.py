"""`GET /health`: what works, what does not, and the cure, within two seconds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter
from ocmt_common.agent_api import Wire
from ocmt_common.problems import Problem
from ocmt_common.version import release_version
from starlette.responses import Response

from ocmt_management.wiring import Server

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
    if not database.ok:
        response.status_code = 503
    return Health(
        status="ok" if database.ok and agent_server.ok else "degraded",
        version=VERSION,
        checks=Checks(database=database, agent_server=agent_server),
    )


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
