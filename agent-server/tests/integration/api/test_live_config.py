"""The version of a user's tools reaches the gateway's configuration, and wakes nothing."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ocmt_agent.api import live_config
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.hibernation import wake
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_agent.wiring import watching
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.gateway_program import stand_in_for_node
from ocmt_testing.agent_server.host import AGENT_TOKEN, Host, open_host
from ocmt_testing.agent_server.real_gateway import spec_of

PATH = "/api/containers/ada/tools-version"


async def put(host: Host, version: object, *, status: int = 204) -> None:
    answer = await host.client.put(PATH, json={"version": version})
    assert answer.status_code == status, answer.text


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0)


async def asleep(host: Host, state: S) -> None:
    if state is not S.RUNNING:
        await host.orders.hibernate("ada", "pause" if state is S.PAUSED else "stop")


@pytest.mark.parametrize("state", [S.RUNNING, S.PAUSED, S.STOPPED])
async def test_it_is_written_in_every_state_and_changes_none(tmp_path: Path, state: S) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await asleep(host, state)
        before = (agent.state, agent.activities, dict(host.runtime.calls))
        for version in (1, 2, 2, 1):  # lower after a restore of management's database
            await put(host, version)
            assert host.runtime.tools_versions["ada"] == version
        calls = dict(host.runtime.calls)
        assert calls.pop("set_tools_version") == 4
        assert (agent.state, agent.activities, calls) == before


async def test_it_does_not_wait_for_a_wake_and_is_not_lost_by_one(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await asleep(host, S.STOPPED)
        starts = host.runtime.hold("start")
        waking = asyncio.create_task(host.client.post("/api/containers/ada/wake"))
        await starts.reached.wait()
        await put(host, 4)
        starts.open()
        assert (await waking).status_code == 200
        assert host.runtime.tools_versions["ada"] == 4


async def test_it_is_written_between_two_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_config, "_LOOK_EVERY_S", 0.01)
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.runs["ada"] = 2
        for version in (4, 5):
            await put(host, version)
        await until(lambda: host.gateway.calls["active_runs"] > 5)
        assert host.runtime.tools_versions["ada"] == 0
        async with asyncio.timeout(1):  # a message of the user's during the run does not wait
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        host.gateway.runs["ada"] = 0
        await until(lambda: host.runtime.tools_versions["ada"] == 5)
        assert host.runtime.calls["set_tools_version"] == 1
        await put(host, 6)
        assert host.runtime.tools_versions["ada"] == 6


@pytest.mark.parametrize("end", ["sleeps", "is killed", "works for long"])
async def test_a_turn_that_does_not_end_in_sight(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_config, "_LOOK_EVERY_S", 0.01)
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.runs["ada"] = 1
        await put(host, 4)
        if end == "sleeps":
            await host.orders.hibernate("ada", "stop")
        elif end == "is killed":
            host.runtime.die("ada")
        else:
            await until(lambda: host.gateway.calls["active_runs"] > 2)
            host.clock.advance(minutes=16)
        await until(lambda: host.runtime.tools_versions["ada"] == 4)


async def test_what_waits_for_a_turn_survives_a_killed_server(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.runs["ada"] = 1
        await put(host, 4)
        runtime, gateway = host.runtime, host.gateway
    assert runtime.tools_versions["ada"] == 0
    async with (
        open_host(tmp_path, runtime=runtime, gateway=gateway) as host,
        watching(host.parts),
    ):
        await until(lambda: runtime.tools_versions["ada"] == 4)


@pytest.mark.parametrize(
    "fault", [GatewayUnreachable("gone"), GatewayRefused("UNAVAILABLE", "starting"), None]
)
async def test_a_gateway_that_does_not_say_is_written_for(
    tmp_path: Path, fault: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_config, "_ANSWERS_WITHIN_S", 0.1)
    async with open_host(tmp_path) as host:
        await host.provision()
        if fault is not None:
            host.gateway.faults["active_runs"] = [fault]
        else:
            monkeypatch.setattr(host.gateway, "active_runs", lambda _: asyncio.Event().wait())
        await put(host, 4)
        assert host.runtime.tools_versions["ada"] == 4


@pytest.mark.parametrize("state", [S.RUNNING, S.PAUSED])
async def test_a_request_waits_until_the_gateway_has_read_it(
    tmp_path: Path, state: S, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "TOOLS_READ_WITHIN_S", 0.4)
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await asleep(host, state)
        await put(host, 4)
        if state is S.PAUSED:
            host.clock.advance(hours=1)  # a paused gateway reads nothing: it counts from the wake
        waiting = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await until(lambda: agent.state is S.RUNNING)
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await waiting
        host.clock.advance(seconds=1)
        async with asyncio.timeout(0.2):
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)


async def test_no_request_waits_for_a_gateway_that_boots_with_it(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await asleep(host, S.STOPPED)
        await put(host, 4)
        host.clock.advance(seconds=3)
        async with asyncio.timeout(1):
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)


async def test_a_container_that_is_made_again_has_the_present_one(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await put(host, 7)
        host.runtime.tools_versions.clear()
        await host.provision(token=AGENT_TOKEN + "2")
        assert host.runtime.tools_versions["ada"] == 7

        host.runtime.tools_versions.clear()
        await host.client.delete("/api/containers/ada")
        await host.provision()
        assert host.runtime.tools_versions["ada"] == 7

        await host.client.delete("/api/containers/ada?state=delete")
        await host.provision()
        assert host.runtime.tools_versions["ada"] == 0


@pytest.mark.parametrize("written", [True, False], ids=["after the file", "before the file"])
async def test_it_survives_a_server_that_is_killed(tmp_path: Path, written: bool) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        if not written:
            host.runtime.faults["set_tools_version"] = [RuntimeFailed("the disk is full")]
        await put(host, 9, status=204 if written else 503)
        runtime, gateway = host.runtime, host.gateway
    if not written:
        assert runtime.tools_versions["ada"] == 0
    async with (
        open_host(tmp_path, runtime=runtime, gateway=gateway) as host,
        watching(host.parts),
    ):
        await until(lambda: runtime.tools_versions["ada"] == 9)
        assert host.state() is S.RUNNING


async def test_a_file_that_cannot_be_written_is_reported_and_another_try_mends_it(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.faults["set_tools_version"] = [RuntimeFailed("Free space on the disk.")]
        answer = await host.client.put(PATH, json={"version": 3})
        assert (answer.status_code, answer.json()["code"]) == (503, "runtime-failed")
        assert "Free space" in answer.json()["detail"]
        await put(host, 3)
        assert host.runtime.tools_versions["ada"] == 3


@pytest.mark.parametrize("version", [-1, 2**53, 1.5, "x", None])
async def test_what_is_no_version_is_refused(tmp_path: Path, version: object) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await put(host, version, status=422)
        assert host.runtime.tools_versions["ada"] == 0


async def test_a_user_without_an_agent_has_none(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await put(host, 1, status=404)


async def test_the_process_runtime_changes_the_file_and_keeps_the_gateway(tmp_path: Path) -> None:
    openclaw, root = tmp_path / "openclaw", tmp_path / "agents"
    stand_in_for_node(openclaw)
    root.mkdir()

    def server() -> ProcessRuntime:
        return ProcessRuntime(
            node=openclaw / "node",
            openclaw_dir=openclaw,
            state_root=root,
            limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
            relay_host="127.0.0.1",
            relay_port=9,
        )

    def version() -> str:
        config = json.loads((root / "ada" / "openclaw.json").read_text())
        return str(config["mcp"]["servers"]["ocmt"]["url"]).partition("?")[2]

    runtime = server()
    await runtime.set_tools_version("ada", 1)  # there is no file yet
    await runtime.create(spec_of("ada"))
    first = await runtime.start("ada")
    assert version() == "catalog=0"
    await runtime.set_tools_version("ada", 2)
    assert version() == "catalog=2"
    await runtime.close()

    restarted = server()
    try:
        await restarted.set_tools_version("ada", 3)
        assert version() == "catalog=3"
        await restarted.create(spec_of("ada"))  # the same process goes on
        assert await restarted.start("ada") == first
        await restarted.set_tools_version("ada", 4)
        await restarted.stop("ada", grace_s=0)
        await restarted.start("ada")
        assert version() == "catalog=4"
    finally:
        await restarted.remove("ada", with_state=True)
        await restarted.close()
