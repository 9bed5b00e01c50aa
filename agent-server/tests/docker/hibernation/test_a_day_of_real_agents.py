"""A compressed day of real agents: the whole server, the real engine, the real OpenClaw.

Users write, tabs stay open, an answer and a tool run take long, jobs come due in a paused and in a
stopped agent. No reply is lost, no job is missed or run twice, no run is cut, and the agents sleep
whenever they can.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.app import create_app
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.wiring import open_parts, watching
from ocmt_common.agent_api import AUTH_HEADER, Actor, AgentPolicy, ProvisionRequest
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.caller import Caller
from ocmt_testing.agent_server.docker_agents import bridge_of, docker_agents
from ocmt_testing.agent_server.host import AGENT_TOKEN, TOKEN, settings_for
from ocmt_testing.agent_server.real_day import ASLEEP, Day, DayClock, DayControl
from ocmt_testing.agent_server.scripted_model import ScriptedModel, scripted_model
from ocmt_testing.agent_server.serving import serving

USERS = ("ada", "ben", "cleo")
LATER_S = {"ben": 0, "cleo": 10}
"""User id → seconds by which the user's job is later than the first."""
LIMIT_S = 480
# Their beginning and, if they are not cut, their end.
_TOOL = (
    "cd ~; echo begun >> tool; until [ -e enough ]; do sleep 0.2; done; echo ended | tee -a tool"
)
_JOB = 'cd ~; echo "begun $(date +%s)" >> ran; sleep 5; echo ended >> ran'


class Rig:
    """The server, its users' open tabs, and their day."""

    def __init__(self, parts: Parts, day: Day, model: ScriptedModel, root: Path) -> None:
        self.parts = parts
        self.day = day
        self.model = model
        self.root = root
        self.tabs: dict[str, Caller] = {}
        self._said = 0

    def state(self, user_id: str) -> S:
        return self.parts.registry.get(user_id).state

    async def say(self, user_id: str, order: str) -> str:
        """Send a message in the user's open tab; returns the agent's whole answer."""
        tab = self.tabs[user_id]
        self._said += 1
        run = f"run-{self._said}"
        sent = await tab.ask("chat.send", run, sessionKey="main", message=order, idempotencyKey=run)
        assert sent["ok"], sent
        while True:
            payload = (await tab.until(event="chat"))["payload"]
            if payload["runId"] == run and payload["state"] not in ("status", "delta"):
                assert payload["state"] == "final", payload
                return "".join(part.get("text", "") for part in payload["message"]["content"])

    def lines(self, user_id: str, name: str) -> list[str]:
        file = self.root / user_id / "state" / name
        return file.read_text().splitlines() if file.exists() else []

    async def schedule(self, user_id: str, *, real: datetime) -> None:
        """Add a job, named after the agent, that is due at this moment of the real clock."""
        access = await self.parts.hibernation.wakes.awake(user_id, kind=ActivityKind.HTTP)
        await self.parts.admin.call(
            access,
            "cron.add",
            {
                "name": user_id,
                "schedule": {"kind": "at", "at": real.isoformat()},
                "payload": {"kind": "command", "argv": ["sh", "-c", _JOB]},
                "delivery": {"mode": "none"},
            },
        )


@asynccontextmanager
async def a_day(tmp_path: Path) -> AsyncIterator[tuple[Rig, dict[str, datetime]]]:
    """Three agents with an open tab each; the default idle times, with a sweep every two
    seconds."""
    root = tmp_path / "agents"
    bridge = await bridge_of(root)
    settings = settings_for(
        tmp_path,
        HIBERNATION_CHECK_INTERVAL="2000",
        WAKE_TIMEOUT_MS="480000",
        STOP_AFTER_MS="14400000",  # set, so that it applies on a host with swap too
    )
    clock, due = DayClock(), dict[str, datetime]()
    async with AsyncExitStack() as stack:
        model, port = await stack.enter_async_context(scripted_model(bridge))
        runtime = await stack.enter_async_context(
            docker_agents(root, relay_host=bridge, relay_port=port)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        parts = await stack.enter_async_context(
            open_parts(settings, runtime=runtime, clock=clock, gateway=DayControl(session, due))
        )
        rig = Rig(parts, Day(parts, clock, due), model, root)
        requests = (ProvisionRequest(user_id=user, agent_token=AGENT_TOKEN) for user in USERS)
        await asyncio.gather(*(parts.provisioning.provision(request) for request in requests))
        proxy = await stack.enter_async_context(serving(create_app(parts)))
        for user in USERS:
            url = f"{proxy.url}/api/containers/{user}/proxy/"
            tab = await stack.enter_async_context(
                session.ws_connect(url, headers={AUTH_HEADER: TOKEN})
            )
            rig.tabs[user] = Caller(tab, limit_s=LIMIT_S)
            assert (await rig.tabs[user].introduce())["ok"]
        await stack.enter_async_context(watching(parts))
        yield rig, due


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_a_day_of_real_agents_loses_no_reply_no_job_and_no_run(tmp_path: Path) -> None:
    async with a_day(tmp_path) as (rig, due):
        day, registry = rig.day, rig.parts.registry
        answers = await asyncio.gather(*(rig.say(user, f"say: morning {user}") for user in USERS))
        assert answers == [f"morning {user}." for user in USERS]

        # Nearly an hour passes over a long answer and a long tool run. Only cleo's agent is idle.
        day.working = {"ada", "ben"}
        reciting = asyncio.create_task(rig.say("ada", "recite: and on"))
        running = asyncio.create_task(rig.say("ben", f"run: {_TOOL}"))
        async with asyncio.timeout(LIMIT_S):
            while not (rig.model.reciting and rig.lines("ben", "tool")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await day.pass_until(day.at(9.9))
        assert [rig.state(user) for user in USERS] == [S.RUNNING, S.RUNNING, S.PAUSED]
        assert registry.get("ada").blockers
        assert registry.get("ben").blockers
        rig.model.heard_enough.set()
        (rig.root / "ben" / "state" / "enough").touch()
        assert (await reciting).endswith("and on and on The end.")
        assert "ended" in await running
        assert rig.lines("ben", "tool") == ["begun", "ended"]
        assert await rig.say("ada", "say: thanks") == "thanks."
        day.working = set()

        # The tabs stay open and silent: all sleep. Ada writes just as her agent falls asleep.
        passing = asyncio.create_task(day.pass_until(day.at(11)))
        while not registry.get("ada").lock.locked():  # noqa: ASYNC110 (as soon as it is tried)
            await asyncio.sleep(0.001)
        assert await rig.say("ada", "say: wait") == "wait."
        await passing
        await day.pass_until(day.at(16))
        assert [rig.state(user) for user in USERS] == [S.STOPPED] * 3

        # All write at once, in the tabs they left open in the morning.
        answers = await asyncio.gather(*(rig.say(user, f"say: back {user}") for user in USERS))
        assert answers == [f"back {user}." for user in USERS]
        await day.pass_until(day.at(16.8))
        assert [rig.state(user) for user in USERS] == [S.PAUSED] * 3

        # Two jobs, seconds apart: one agent will be paused by then, the other stopped.
        boot_s = sorted(registry.wake_times.kept()[S.STOPPED])[1]  # one waited for the others
        for _ in range(50):
            registry.woke(S.STOPPED, seconds=boot_s)  # as if it had run on this machine for long
        lead = registry.wake_times.lead(S.STOPPED)
        real = datetime.now(UTC) + lead + timedelta(seconds=60)
        for user, later_s in LATER_S.items():
            due[user] = day.at(19) + timedelta(seconds=later_s)
            await rig.schedule(user, real=real + timedelta(seconds=later_s))
        await registry.set_policy(registry.get("cleo"), AgentPolicy(stop_after_ms=3_600_000))
        await day.pass_until(day.at(18.8))
        assert [rig.state(user) for user in USERS] == [S.PAUSED, S.PAUSED, S.STOPPED]
        active = {user: registry.get(user).last_activity_at for user in USERS}
        assert real - datetime.now(UTC) > lead
        await day.meet(day.at(19), real=real)

        async def woken_and_back(user: str, depth: S) -> None:
            await day.until(user, S.RUNNING)
            assert registry.get(user).state_who is Actor.JOB
            await day.until(user, depth)

        await asyncio.gather(woken_and_back("ben", S.PAUSED), woken_and_back("cleo", S.STOPPED))

        # The night.
        await day.pass_until(day.at(9, day=1))
        assert [rig.state(user) for user in USERS] == [S.STOPPED] * 3
        assert {user: registry.get(user).last_activity_at for user in USERS} == active
        for user, later_s in LATER_S.items():
            ran = rig.lines(user, "ran")
            assert [line.split()[0] for line in ran] == ["begun", "ended"]
            late_s = int(ran[0].split()[1]) - real.timestamp() - later_s
            assert -1 <= late_s <= 15
        assert rig.lines("ada", "ran") == []

        assert day.looks_asleep / day.looks > 0.8
        for user in USERS:
            events = await registry.events(registry.get(user), limit=200)
            assert {event.to_state for event in events} <= {
                *(S.PROVISIONING, S.WAKING, S.RUNNING),
                *ASLEEP,
            }
            jobs = [e for e in events if e.who is Actor.JOB and e.to_state is S.RUNNING]
            assert len(jobs) == (user in due)
