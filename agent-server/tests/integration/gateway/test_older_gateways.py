"""Gateways from before cooperative suspension and `/startupz`: an unknown answer counts as no."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import NO_LEASE, Busy, GatewayAdmin, GatewayRefused, Suspended
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.runtime.base import SecretText
from ocmt_testing.agent_server.serving import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

Answers = dict[str, dict[str, Any]]
IDLE_SESSIONS = {"sessions": [{"key": "main", "hasActiveRun": False}]}


@asynccontextmanager
async def older_gateway(answers: Answers) -> AsyncIterator[tuple[GatewayAdmin, GatewayAccess]]:
    """A gateway that knows only the methods in `answers`."""

    async def admin(request: Request) -> JSONResponse:
        method = (await request.json())["method"]
        if method in answers:
            return JSONResponse({"ok": True, "payload": answers[method]})
        error = {"code": "INVALID_REQUEST", "message": f"unknown method: {method}"}
        return JSONResponse({"ok": False, "error": error}, 400)

    app = Starlette(routes=[Route("/api/v1/admin/rpc", admin, methods=["POST"])])
    async with serving(app) as endpoint, aiohttp.ClientSession() as session:
        access = GatewayAccess("ada", endpoint, SecretText("token"), DeviceKey.generate())
        yield GatewayAdmin(session), access


async def test_an_older_gateway_without_an_active_run_may_sleep_without_a_lease() -> None:
    async with older_gateway({"sessions.list": IDLE_SESSIONS}) as (admin, access):
        assert await admin.suspend(access, request_id="r") == Suspended(NO_LEASE)
        await admin.resume(access, NO_LEASE)  # nothing to give back, no call made


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"sessions.list": {"sessions": [{"hasActiveRun": True}, {}]}}, "1 active run"),
        ({}, "too old"),
        ({"sessions.list": {"sessions": "many"}}, "too old"),
        ({"sessions.list": {}}, "too old"),
    ],
)
async def test_an_older_gateway_that_works_or_cannot_tell_stays_awake(
    answers: Answers, told: str
) -> None:
    async with older_gateway(answers) as (admin, access):
        answer = await admin.suspend(access, request_id="r")
        assert isinstance(answer, Busy)
        assert told in answer.blockers[0]


async def test_unreadable_jobs_keep_an_agent_awake() -> None:
    """A sleep reads the next job first; if the gateway refuses, the sleep is cancelled."""
    async with older_gateway({"sessions.list": IDLE_SESSIONS}) as (admin, access):
        with pytest.raises(GatewayRefused):
            await admin.next_job_at(access)


async def test_a_gateway_without_the_probe_has_started_once_it_answers_a_call() -> None:
    answers: Answers = {}
    async with older_gateway(answers) as (_, access), aiohttp.ClientSession() as session:
        control = OpenClawControl(session)
        assert not await control.is_started(access)
        answers["health"] = {}
        assert await control.is_started(access)
        await control.close()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {"blockers": [{"kind": "background-exec", "count": 1, "message": "label=curl bank"}]},
            ["1 background command"],
        ),
        ({"blockers": ["curl bank"]}, ["1 other task"]),
        ({"reason": "curl bank"}, ["it is working"]),
        ({"blockers": "curl bank", "retryAfterMs": "curl bank"}, ["it is working"]),
    ],
)
async def test_a_busy_gateways_own_words_are_not_forwarded(
    answer: dict[str, Any], told: list[str]
) -> None:
    """They contain the user's command lines, and operators and admins would read them."""
    busy = {"status": "busy", **answer}
    async with older_gateway({"gateway.suspend.prepare": busy}) as (admin, access):
        assert await admin.suspend(access, request_id="r") == Busy(told, 10)
