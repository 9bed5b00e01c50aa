"""A real OpenClaw that is made beforehand and claimed, with all that surrounds it, and its scan."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.app import create_app
from ocmt_agent.clock import SystemClock
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.proxy import stand_in
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import Runtime
from ocmt_agent.spares.warm_up import MESSAGE
from ocmt_agent.wiring import open_parts
from ocmt_common.agent_api import AUTH_HEADER, ProvisionRequest
from ocmt_common.agent_api import HibernationState as S
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocmt_testing.agent_server.caller import Caller
from ocmt_testing.agent_server.host import TOKEN, settings_for
from ocmt_testing.agent_server.identity_scan import (
    found_in_files,
    found_in_processes,
    ports_of,
)
from ocmt_testing.agent_server.serving import serving

GIB = 1024**3
ROOMY = HostFigures(64 * GIB, 60 * GIB, 64 * GIB, 64 * GIB, None, swap_disk=64 * GIB)
ADA, BEA = "user-ada-4711", "user-bea-0815"
TOKENS = {ADA: "adas-own-agent-token-0123", BEA: "beas-own-agent-token-9876"}
_MAKES_ONE_WITHIN = 5
_ANSWERS_WITHIN_S = 300
"""A boot is a part of the first answer."""


@asynccontextmanager
async def server(
    data: Path, sent: list[str], *, open_runtime: Callable[[int], Runtime], relay_host: str
) -> AsyncIterator[Parts]:
    """A whole agent server with its relay; `sent` gets the tokens that management receives.

    `open_runtime` takes the relay's port; the runtime is closed at the end.
    """

    async def management(request: Request) -> Response:
        sent.append(request.headers["authorization"].removeprefix("Bearer "))
        return stand_in.answer(request.url.path, request.method, await request.body())

    holder: list[Parts] = []

    def is_ours(token: str) -> bool:
        return holder[0].registry.is_agent_token(token)

    def as_sent(token: str) -> str | None:
        return holder[0].registry.token_for_management(token)

    routes = [Route("/{path:path}", management, methods=["GET", "POST"])]
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(serving(Starlette(routes=routes)))
        session = await stack.enter_async_context(open_session())
        relay = relay_app(there.url, is_ours, session, for_management=as_sent)
        here = await stack.enter_async_context(serving(relay, host=relay_host))
        runtime = open_runtime(here.port)
        stack.push_async_callback(runtime.close)
        parts = await stack.enter_async_context(
            open_parts(
                settings_for(data, WAKE_TIMEOUT_MS="480000", STOP_AGENTS_ON_EXIT="true"),
                runtime=runtime,
                clock=SystemClock(),
                read_host=lambda: ROOMY,
                read_load=lambda: 0.0,
            )
        )
        holder.append(parts)
        yield parts


async def _made_beforehand(parts: Parts, *, held: bool = False) -> Agent:
    for _ in range(_MAKES_ONE_WITHIN):
        parts.spares._not_before_s.clear()  # a busy machine may need another attempt
        await parts.spares.look()
        if ready := parts.spares.ready(held=held):
            return ready[0]
    raise AssertionError("no spare was made")


async def claimed(parts: Parts, user_id: str, sent: list[str]) -> Agent:
    """Make an agent beforehand and give it to the user, without a boot."""
    others = {str(agent.agent_token) for agent in parts.registry.all()}
    sent.clear()
    spare = await _made_beforehand(parts)
    assert set(sent) <= others, "a spare reached management"
    began = time.monotonic()
    request = ProvisionRequest(user_id=user_id, agent_token=TOKENS[user_id])
    agent, made = await parts.provisioning.provision(request)
    claimed_s = time.monotonic() - began
    assert (agent is spare, made, agent.state) == (True, True, S.RUNNING)
    assert claimed_s < 10, "it was booted"
    return agent


async def chat(parts: Parts, user_id: str, message: str, *, after: str | None = None) -> None:
    """The user sends a message, and gets an answer.

    Before, they find no conversation, or with `after` the one with that message.
    """
    async with (
        serving(create_app(parts)) as proxy,
        aiohttp.ClientSession() as session,
        session.ws_connect(
            f"{proxy.url}/api/containers/{user_id}/proxy/", headers={AUTH_HEADER: TOKEN}
        ) as socket,
    ):
        caller = Caller(socket, limit_s=_ANSWERS_WITHIN_S)
        assert (await caller.introduce())["ok"]
        history = await caller.ask("chat.history", "h", sessionKey="main", limit=50)
        listed = await caller.ask("sessions.list", "l", limit=50)
        said = str(history["payload"]["messages"])
        if after is None:
            assert (said, listed["payload"]["count"]) == ("[]", 0)
        else:
            assert after in said
            assert listed["payload"]["count"] == 1
        answer = await caller.ask(
            "chat.send", "r1", sessionKey="main", message=message, idempotencyKey=message
        )
        assert answer["ok"], answer
        while (await caller.until(event="chat"))["payload"]["state"] != "final":
            pass


async def scan(parts: Parts, sent: list[str], *, relay_port: int) -> None:
    """Two agents are made beforehand, claimed and used; nothing of before or of the other is left.

    `sent`: see `server`.
    """
    agents, asked = {}, {user: f"This is what {user} asks." for user in (ADA, BEA)}
    for user in (BEA, ADA):
        agents[user] = await claimed(parts, user, sent)
        await chat(parts, user, asked[user])
        assert TOKENS[user] in sent
        assert set(sent) <= set(TOKENS.values()), "management got another token than the users'"
    for user, agent in agents.items():
        other = agents[BEA if user == ADA else ADA]
        home = parts.runtime.home(user)
        foreign = {
            *(MESSAGE, other.user_id, parts.runtime.home(other.user_id).name),
            *(TOKENS[other.user_id], str(other.gateway_token), str(other.container_token)),
            *(other.device.device_id, asked[other.user_id], TOKENS[user]),
        }
        where = await parts.runtime.whereabouts(user)
        assert where is not None
        pids = where.pids()
        assert found_in_processes(pids, foreign) == set()
        environments = found_in_processes(pids, [f"OCMT_AGENT_TOKEN={agent.container_token}"])
        assert environments, "the scan finds what is there"
        listens, far_ends = ports_of(pids)
        assert agent.access is not None
        assert agent.access.endpoint.port in listens, "the scan finds what is there"
        assert far_ends <= {relay_port}, "a connection to something else than the relay"
        logged = await parts.runtime.logs(user, lines=10_000)
        assert logged
        assert [text for text in foreign if text in logged] == []
        assert [event.why for event in await parts.registry.events(agent, limit=50)] == [
            "provision of an agent made beforehand"
        ] * 2
        await parts.hibernation.orders.hibernate(user, "stop", force=True)
        assert found_in_files(home, foreign) == set()
        assert found_in_files(home, [asked[user]]) != set(), "the scan finds what is there"
    _scan_records(parts.settings.data_dir / "agent.db", agents)


async def _taken_over(parts: Parts, agent: Agent, message: str, *, after: str) -> set[str]:
    """Wake a stopped agent in a held spare. Returns what the spare was known by."""
    spare = await _made_beforehand(parts, held=True)
    home = parts.runtime.home(spare.user_id)
    assert list((home / "state").iterdir()) == []
    spares_own = {spare.device.device_id, spare.device.derived("suspension").device_id}
    await chat(parts, agent.user_id, message, after=after)
    assert parts.runtime.home(agent.user_id) == home
    assert agent.container_token == spare.container_token
    return spares_own


async def scan_taken_over(parts: Parts, sent: list[str], *, relay_port: int) -> None:
    """Two stopped agents go on in held spares; nothing of the spares or of the other is left.

    `sent`: see `server`.
    """
    parts.spares._most = 1  # of each kind
    agents: dict[str, Agent] = {}
    asked = {user: f"This is what {user} asks." for user in (ADA, BEA)}
    for user in (BEA, ADA):
        request = ProvisionRequest(user_id=user, agent_token=TOKENS[user])
        agents[user], _ = await parts.provisioning.provision(request)
        await chat(parts, user, asked[user])
        await parts.hibernation.orders.hibernate(user, "stop", force=True)
    old = {user: parts.runtime.home(user) for user in agents}
    tokens = {user: str(agent.gateway_token) for user, agent in agents.items()}
    spares_own = {}
    for user, agent in agents.items():
        sent.clear()
        spares_own[user] = await _taken_over(
            parts, agent, f"And this is what {user} asks later.", after=asked[user]
        )
        assert set(sent) <= {TOKENS[user]}, "management got another token than the user's"
        await asyncio.gather(*parts.hibernation.transitions._tasks)
        assert not old[user].exists()
    for user, agent in agents.items():
        other = agents[BEA if user == ADA else ADA]
        foreign = {
            *(MESSAGE, other.user_id, asked[other.user_id], TOKENS[other.user_id], TOKENS[user]),
            *(str(other.gateway_token), str(other.container_token), *tokens.values()),
            *(other.device.device_id, *spares_own[user], parts.runtime.home(other.user_id).name),
        }
        where = await parts.runtime.whereabouts(user)
        assert where is not None
        pids = where.pids()
        # Not even an open database that was the spare's.
        assert found_in_processes(pids, foreign | {".sqlite (deleted)"}) == set()
        _, far_ends = ports_of(pids)
        assert far_ends <= {relay_port}, "a connection to something else than the relay"
        whys = [event.why for event in await parts.registry.events(agent, limit=50)]
        assert whys[-2:] == ["websocket request, in a spare"] * 2
        await parts.hibernation.orders.hibernate(user, "stop", force=True)
        home = parts.runtime.home(user)
        assert found_in_files(home, foreign) == set()
        for text in (asked[user], f"And this is what {user} asks later."):
            assert found_in_files(home, [text]) != set(), "the scan finds what is there"
        # Started again where it is now, it has all of its conversation.
        await chat(parts, user, "One more.", after=f"And this is what {user} asks later.")


def _scan_records(file: Path, agents: dict[str, Agent]) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:
        spares = database.execute("SELECT count(*) FROM agents WHERE spare").fetchone()
        rows = database.execute("SELECT user_id, event FROM events").fetchall()
    assert spares == (0,)
    assert {user for user, _ in rows} == set(agents)
    assert not any("agent." in event for _, event in rows), "an event names a home"
