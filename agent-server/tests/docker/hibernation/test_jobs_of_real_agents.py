"""Scheduled jobs of sleeping real agents: the whole server, the real engine, the real OpenClaw.

Takes minutes of real time, because OpenClaw's schedule follows the real clock.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.clock import SystemClock
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_agent.wiring import open_parts, watching
from ocmt_cli.openclaw.commands import build_image
from ocmt_common.agent_api import Actor, ProvisionRequest
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.openclaw import default_image
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import AGENT_TOKEN, settings_for
from ocmt_testing.agent_server.openclaw import installed_openclaw

pytestmark = pytest.mark.nightly
# Its beginning and, if it is not cut, its end.
_JOB = 'echo "begun $(date +%s)" >> $OPENCLAW_STATE_DIR/ran; sleep 15; echo ended >> $OPENCLAW_STATE_DIR/ran'  # noqa: E501
_IN = timedelta(seconds=150)


async def schedule(parts: Parts, user_id: str) -> Agent:
    """Add a job that is due in a while, and return it."""
    access = await parts.hibernation.wakes.awake(user_id, kind=ActivityKind.HTTP)
    due = parts.clock.now() + _IN
    await parts.admin.call(
        access,
        "cron.add",
        {
            "name": "a job",
            "schedule": {"kind": "at", "at": due.isoformat()},
            "payload": {"kind": "command", "argv": ["sh", "-c", _JOB]},
            "delivery": {"mode": "none"},
        },
    )
    return parts.registry.get(user_id)


async def until(agent: Agent, *states: S, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while agent.state not in states:  # noqa: ASYNC110 (the watch tells nobody)
            await asyncio.sleep(0.2)


async def test_jobs_of_a_paused_and_of_a_stopped_agent_run_once_in_time_and_whole(
    tmp_path: Path,
) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o711)  # a container's user passes through to its own folder
    build_image(installed_openclaw())
    runtime = DockerRuntime(
        image=default_image(),
        state_root=tmp_path / "agents",
        limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
        relay_host=None,
        relay_port=9,
    )
    settings = settings_for(
        tmp_path,
        PAUSE_AFTER_MS="4000",
        HIBERNATION_CHECK_INTERVAL="2000",
        WAKE_TIMEOUT_MS="240000",
    )
    try:
        async with open_parts(settings, runtime=runtime, clock=SystemClock()) as parts:
            for _ in range(5):
                parts.registry.woke(S.STOPPED, seconds=45)  # this machine may be busy
            for user_id in ("ada", "ben"):
                await parts.provisioning.provision(
                    ProvisionRequest(user_id=user_id, agent_token=AGENT_TOKEN)
                )
            ada, ben = await schedule(parts, "ada"), await schedule(parts, "ben")
            async with watching(parts), asyncio.timeout(90):
                while ben.state is not S.STOPPED:
                    try:
                        await parts.hibernation.orders.hibernate("ben", "stop")
                    except Problem:  # still at its chores after the boot
                        await asyncio.sleep(2)
                await until(ada, S.PAUSED, within_s=90)
            due = {}
            for agent in (ada, ben):
                assert agent.next_job_at is not None
                due[agent.user_id] = agent.next_job_at
            asleep = {agent.user_id: agent.state for agent in (ada, ben)}
            active = {agent.user_id: agent.last_activity_at for agent in (ada, ben)}
            async with watching(parts):
                for agent in (ada, ben):
                    await until(agent, S.RUNNING, within_s=200)
                    assert agent.state_who is Actor.JOB
                for agent in (ada, ben):
                    await until(agent, asleep[agent.user_id], within_s=200)
            for agent in (ada, ben):
                ran = _ran(tmp_path, agent.user_id)
                assert [line.split()[0] for line in ran] == ["begun", "ended"]
                late_s = int(ran[0].split()[1]) - due[agent.user_id].timestamp()
                assert -1 <= late_s <= 15
                assert agent.last_activity_at == active[agent.user_id]
    finally:
        for user_id in await runtime.observe_all():
            await runtime.remove(user_id, with_state=True)
        await runtime.close()


def _ran(root: Path, user_id: str) -> list[str]:
    return (root / "agents" / user_id / "state" / "ran").read_text().splitlines()
