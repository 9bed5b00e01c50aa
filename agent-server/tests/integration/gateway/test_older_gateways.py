"""Gateways from before `/startupz`: whether they have started, their answers to our calls tell."""

import aiohttp
from doubles.serving import serving
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.runtime.base import Endpoint, SecretText
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_STARTING = {"ok": False, "error": {"code": "UNAVAILABLE", "message": "gateway is starting"}}


async def test_one_without_the_probe_has_started_when_it_answers_a_call() -> None:
    answers = [_STARTING, {"ok": True, "payload": {}}]

    async def call(_: Request) -> JSONResponse:
        return JSONResponse(answers.pop(0))

    older = Starlette(routes=[Route("/api/v1/admin/rpc", call, methods=["POST"])])
    async with serving(older) as server, aiohttp.ClientSession() as session:
        endpoint = Endpoint("127.0.0.1", int(server.url.rpartition(":")[2]))
        access = GatewayAccess("ada", endpoint, SecretText("token"), DeviceKey.generate())
        control = OpenClawControl(session)

        assert [await control.is_started(access) for _ in range(2)] == [False, True]
        await control.close()
