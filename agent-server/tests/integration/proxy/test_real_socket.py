"""One caller's socket through a freeze, a stop and a crash of the real OpenClaw."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.runtime.base import Endpoint
from ocmt_testing.agent_server.awake import GATEWAY_TOKEN, Sleepy
from ocmt_testing.agent_server.caller import Caller
from ocmt_testing.agent_server.gateway_double import REPLY
from ocmt_testing.agent_server.lan_gateway import lan_gateway
from ocmt_testing.agent_server.serving import serving
from starlette.applications import Starlette

LIMIT_S = 120


@pytest.mark.nightly  # four boots of the real gateway; its double is tested in each change
async def test_a_conversation_continues_whatever_happens_to_the_gateway(tmp_path: Path) -> None:
    said = "".join(REPLY)
    async with lan_gateway(tmp_path, token=GATEWAY_TOKEN) as gateway, open_session() as session:
        waking = Sleepy(gateway.endpoint)
        routes = proxy_routes(waking, session, GatewayAdmin(session), max_body_bytes=1000)
        async with (
            serving(Starlette(routes=routes)) as proxy,
            aiohttp.ClientSession() as client,
            client.ws_connect(f"{proxy.url}/api/containers/ada/proxy/") as socket,
        ):
            caller = Caller(socket, limit_s=LIMIT_S)
            assert (await caller.introduce())["ok"]
            assert await caller.say("one", "run-1") == said

            gateway.freeze()

            async def thaw() -> Endpoint:
                gateway.thaw()
                return gateway.endpoint

            waking.bring_up = thaw
            assert await caller.say("two", "run-2") == said
            assert caller.seen.count('"shutdown"') == 1, "only the list of events in the hello"

            for number, end in enumerate((gateway.stop, gateway.kill), start=3):
                ended = asyncio.create_task(end())
                await caller.until(event="shutdown")
                await ended
                waking.bring_up = gateway.start
                assert await caller.say(str(number), f"run-{number}") == said

            history = await caller.ask("chat.history", "h", sessionKey="main", limit=20)

    questions = [m["content"] for m in history["payload"]["messages"] if m["role"] == "user"]
    assert questions == ["one", "two", "3", "4"]
    for secret in (GATEWAY_TOKEN, '"deviceToken"', '"recoveryScope"', '"signature"', "/cap/"):
        assert secret not in caller.seen
