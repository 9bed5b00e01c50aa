"""A real OpenClaw, made beforehand, claimed and scanned: nothing of before the claim is left.

With the process runtime. Files (names and contents) and every value of every SQLite database are
searched for the warm-up's text and the user's agent token, and the environment of every process for
that token. Sockets and a second user's names are not searched.
"""

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.app import create_app
from ocmt_agent.clock import SystemClock
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.proxy import stand_in
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_agent.spares.warm_up import MESSAGE
from ocmt_agent.wiring import open_parts
from ocmt_common.agent_api import AUTH_HEADER, ProvisionRequest
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.caller import Caller
from ocmt_testing.agent_server.host import TOKEN, settings_for
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary
from ocmt_testing.agent_server.serving import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

GIB = 1024**3
ROOMY = HostFigures(64 * GIB, 60 * GIB, 64 * GIB, 64 * GIB, None, swap_disk=64 * GIB)
ADA = "adas-own-agent-token-0123"


@asynccontextmanager
async def server(folder: Path, sent: list[str]) -> AsyncIterator[Parts]:
    """A whole agent server with its relay; `sent` gets the tokens that management receives."""

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
        relay = relay_app(
            there.url,
            is_ours,
            session,
            for_management=as_sent,
        )
        here = await stack.enter_async_context(serving(relay))
        runtime = ProcessRuntime(
            node=node_binary(),
            openclaw_dir=installed_openclaw(),
            state_root=folder / "agents",
            limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
            relay_host="127.0.0.1",
            relay_port=here.port,
        )
        stack.push_async_callback(runtime.close)
        parts = await stack.enter_async_context(
            open_parts(
                settings_for(folder, WAKE_TIMEOUT_MS="480000", STOP_AGENTS_ON_EXIT="true"),
                runtime=runtime,
                clock=SystemClock(),
                read_host=lambda: ROOMY,
                read_load=lambda: 0.0,
            )
        )
        holder.append(parts)
        yield parts


def texts_of(file: Path) -> Iterator[str]:
    """The content of a file; of a database also each value, as SQLite gives it."""
    with contextlib.suppress(OSError):
        yield file.read_bytes().decode("utf-8", errors="replace")
    if file.suffix == ".sqlite":
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database,
        ):
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                with contextlib.suppress(sqlite3.Error):  # a module that is not loaded here
                    for row in database.execute(f'SELECT * FROM "{table}"'):
                        yield " ".join(map(str, row))


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")


def found_in(folder: Path, texts: list[str]) -> set[tuple[str, str]]:
    files = [one for one in folder.rglob("*") if "node-compile-cache" not in one.parts]
    names = {(text, str(one)) for one in files for text in texts if text in one.name}
    return names | {
        (text, str(one))
        for one in files
        if one.is_file() and not one.is_symlink()
        for content in texts_of(one)
        for text in texts
        if text in content
    }


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_nothing_of_the_spare_or_of_another_user_is_left(tmp_path: Path) -> None:
    tmp_path.joinpath("agents").mkdir()
    sent: list[str] = []
    async with server(tmp_path, sent) as parts, aiohttp.ClientSession() as session:
        await parts.spares.look()
        (spare,) = parts.spares.ready()
        assert sent == [], "a spare reached management"
        home = tmp_path / "agents" / spare.user_id

        began = time.monotonic()
        request = ProvisionRequest(user_id="ada", agent_token=ADA)
        agent, made = await parts.provisioning.provision(request)
        claimed_s = time.monotonic() - began
        assert (agent is spare, made, agent.state) == (True, True, S.RUNNING)
        assert claimed_s < 10, "it was booted"

        async with (
            serving(create_app(parts)) as proxy,
            session.ws_connect(
                f"{proxy.url}/api/containers/ada/proxy/", headers={AUTH_HEADER: TOKEN}
            ) as socket,
        ):
            caller = Caller(socket)
            assert (await caller.introduce())["ok"]
            history = await caller.ask("chat.history", "h", sessionKey="main", limit=50)
            assert history["payload"]["messages"] == []
            listed = await caller.ask("sessions.list", "l", limit=50)
            assert listed["payload"]["count"] == 0
            answer = await caller.ask(
                "chat.send", "r1", sessionKey="main", message="Is this mine?", idempotencyKey="r1"
            )
            assert answer["ok"], answer
            while (await caller.until(event="chat"))["payload"]["state"] != "final":
                pass
        assert set(sent) == {ADA}, "management got another token than the user's"

        where = await parts.hibernation.transitions.run(_whereabouts(parts, agent))
        token = str(agent.container_token)
        for pid in where:
            environment = environment_of(pid)
            assert ADA not in environment
            if "OCMT_AGENT_TOKEN=" in environment:
                assert f"OCMT_AGENT_TOKEN={token}" in environment
        assert [e.why for e in await parts.registry.events(agent, limit=50)] == [
            "provision of an agent made beforehand"
        ] * 2
        with contextlib.closing(sqlite3.connect(tmp_path / "agent.db")) as database:
            spares = database.execute("SELECT count(*) FROM agents WHERE spare").fetchone()
            rows = database.execute("SELECT user_id, event FROM events").fetchall()
        assert spares == (0,)
        assert {user for user, _ in rows} == {"ada"}
        assert not any(home.name in event for _, event in rows)

        await parts.hibernation.orders.hibernate("ada", "stop", force=True)
        assert agent.state is S.STOPPED
        assert found_in(home, [MESSAGE, ADA]) == set()
        assert found_in(home, ["Is this mine?"]) != set(), "the scan finds what is there"


async def _whereabouts(parts: Parts, agent: Agent) -> list[int]:
    where = await parts.memory._runtime.whereabouts(agent.user_id)
    assert where is not None
    return where.pids()
