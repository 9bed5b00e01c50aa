"""Tool servers through the agent server's API, as plain processes in place of containers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable
from ocmt_agent.tool_servers.containers import PackageRefused
from ocmt_agent.tool_servers.server import IDLE_S, UserToolServer
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.host import Host, open_host
from ocmt_testing.agent_server.local_tool_containers import LocalToolContainers

PATH = "/api/containers/ada/tool-servers/one"
KEY = "sk-a-key-0123456789"
DEFINITION: dict[str, Any] = {
    "package": "@scope/tool",
    "version": "2026.8.31",
    "integrity": f"sha512-{'A' * 86}==",
    "environment": {"KEY": KEY},
}


@asynccontextmanager
async def tools_host(
    tmp_path: Path, **options: Any
) -> AsyncIterator[tuple[Host, LocalToolContainers]]:
    containers = LocalToolContainers()
    async with open_host(tmp_path, tool_containers=containers, **options) as host:
        await host.provision()
        yield host, containers
    assert not containers.running
    assert containers.closed


async def put(host: Host, path: str = PATH, **changes: Any) -> dict[str, Any]:
    answer = await host.client.put(path, json=DEFINITION | changes)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def post(host: Host, message: object, *, path: str = PATH, **named: Any) -> httpx2.Response:
    return await host.client.post(f"{path}/mcp", json=message, timeout=60, **named)


async def call(host: Host, tool: str, *, path: str = PATH, **arguments: Any) -> httpx2.Response:
    params = {"name": tool, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": "mine", "method": "tools/call", "params": params}
    return await post(host, message, path=path)


def text_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["id"] == "mine"
    return str(body["result"]["content"][0]["text"])


async def shown(host: Host) -> dict[str, Any]:
    return dict((await host.client.get(PATH)).json())


def server_of(host: Host) -> UserToolServer:
    return host.parts.tool_servers.get("ada", "one")


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.001)


async def test_a_definition_starts_nothing_and_the_first_call_does(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        made = await put(host)
        assert (made["state"], made["reason"], made["package"]) == ("stopped", None, "@scope/tool")
        assert (await put(host)) == made
        assert not containers.calls
        assert text_of(await call(host, "echo", text="hello")) == "hello"
        assert (containers.calls["install"], containers.calls["start"]) == (1, 1)
        seen = await shown(host)
        assert (seen["state"], seen["version"]) == ("running", "2026.8.31")
        assert seen["runningSince"] is not None
        assert host.state() is S.RUNNING
        assert containers.launches[0].number == host.parts.registry.get("ada").number


async def test_each_caller_is_initialized_by_one_run(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        for number in (0, 1, "x"):
            answer = await post(host, {"jsonrpc": "2.0", "id": number, "method": "initialize"})
            assert answer.json()["id"] == number
            assert answer.json()["result"]["protocolVersion"] == "2025-11-25"
            for method in ("notifications/initialized", "notifications/cancelled"):
                told = await post(host, {"jsonrpc": "2.0", "method": method, "params": {}})
                assert (told.status_code, told.content) == (202, b"")
        listed = await post(host, {"jsonrpc": "2.0", "id": 7, "method": "tools/list"})
        assert listed.json() == {
            "jsonrpc": "2.0",
            "id": 7,
            "result": {"tools": [{"name": "echo"}]},
        }
        assert containers.calls["start"] == 1


async def test_what_starts_nothing(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        ping = await post(host, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert ping.json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert (await host.client.get(f"{PATH}/mcp")).status_code == 405
        assert (await host.client.delete(f"{PATH}/mcp")).status_code == 405
        await post(host, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        await shown(host)
        assert not containers.calls


async def test_calls_at_once_start_one_container(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        answers = await asyncio.gather(*(call(host, "pid") for _ in range(10)))
        assert len({text_of(answer) for answer in answers}) == 1
        assert (containers.calls["install"], containers.calls["start"]) == (1, 1)


async def test_users_share_an_installation_and_nothing_else(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await host.provision("ben", token="another-agent-token")
        others = PATH.replace("ada", "ben")
        await put(host)
        await put(host, others, environment={"KEY": "bens-key"})
        found = await asyncio.gather(
            call(host, "environment", variable="KEY"),
            call(host, "environment", path=others, variable="KEY"),
        )
        assert [text_of(one) for one in found] == [KEY, "bens-key"]
        assert (containers.calls["install"], containers.calls["start"]) == (1, 2)
        pids = await asyncio.gather(call(host, "pid"), call(host, "pid", path=others))
        assert text_of(pids[0]) != text_of(pids[1])


async def test_an_idle_server_is_stopped_and_the_next_call_starts_it(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        first = text_of(await call(host, "pid"))
        host.clock.advance(seconds=IDLE_S - 1)
        host.parts.tool_servers.stop_idle()
        assert text_of(await call(host, "pid")) == first

        host.clock.advance(seconds=IDLE_S)
        host.parts.tool_servers.stop_idle()
        assert (await shown(host))["state"] == "stopped"
        # A call at the moment of the stop has a server of its own, and is not failed by it.
        assert text_of(await call(host, "pid")) != first
        await until(lambda: len(containers.running) == 1)


async def test_a_server_in_use_is_not_idle(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        await call(host, "pid")
        late = asyncio.create_task(call(host, "later", s=0.3))
        await until(lambda: server_of(host)._in_use == 1)
        host.clock.advance(seconds=10 * IDLE_S)
        host.parts.tool_servers.stop_idle()
        assert text_of(await late) == "late"
        host.parts.tool_servers.stop_idle()  # idle time counts from the answer
        assert len(containers.running) == 1

        gate = containers.gates["start"] = asyncio.Event()
        host.clock.advance(seconds=IDLE_S)
        host.parts.tool_servers.stop_idle()
        starting = asyncio.create_task(call(host, "pid"))
        await until(lambda: containers.calls["start"] == 2)
        host.clock.advance(seconds=IDLE_S)
        host.parts.tool_servers.stop_idle()
        gate.set()
        text_of(await starting)


async def test_another_definition_ends_the_running_server(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        await call(host, "pid")
        waiting = asyncio.create_task(call(host, "never"))
        await until(lambda: server_of(host)._in_use == 1)
        await put(host, environment={"KEY": "another-key"})
        answer = await waiting
        assert (answer.status_code, answer.json()["code"]) == (503, "tool-server-failed")
        assert "its definition was changed" in answer.json()["detail"]
        assert not containers.running
        assert text_of(await call(host, "environment", variable="KEY")) == "another-key"


@pytest.mark.parametrize("at", ["install", "start"])
async def test_a_removal_ends_a_start_under_way(tmp_path: Path, at: str) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        containers.gates[at] = asyncio.Event()
        starting = asyncio.create_task(call(host, "pid"))
        await until(lambda: containers.calls[at] == 1)
        assert (await shown(host))["state"] == f"{at}ing"
        assert (await host.client.delete(PATH)).status_code == 204
        answer = await starting
        assert (answer.status_code, answer.json()["code"]) == (404, "no-such-tool-server")
        assert (await host.client.get(PATH)).status_code == 404
        assert (await host.client.delete(PATH)).status_code == 204


async def test_servers_go_with_their_agent(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        await call(host, "pid")
        await host.client.delete("/api/containers/ada")
        assert not containers.running
        for answer in (await call(host, "pid"), await host.client.put(PATH, json=DEFINITION)):
            assert (answer.status_code, answer.json()["code"]) == (404, "no-such-agent")
        await host.provision()
        answer = await call(host, "pid")
        assert (answer.status_code, answer.json()["code"]) == (404, "no-such-tool-server")


async def test_a_disabled_agent_calls_no_tools(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, _):
        await put(host)
        await host.orders.disable("ada")
        answer = await call(host, "pid")
        assert (answer.status_code, answer.json()["code"]) == (409, "agent-disabled")


@pytest.mark.parametrize("state", ["pause", "stop"])
async def test_a_call_wakes_no_agent(tmp_path: Path, state: Any) -> None:
    async with tools_host(tmp_path) as (host, _):
        await put(host)
        await host.orders.hibernate("ada", state)
        before = host.state()
        text_of(await call(host, "pid"))
        assert host.state() is before


async def test_a_server_that_ends_is_explained_and_started_again(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        answer = await call(host, "exit", code=4, text=f"no such account for {KEY}\n")
        assert (answer.status_code, answer.json()["code"]) == (503, "tool-server-failed")
        assert answer.json()["lastOutput"] == ["no such account for •••"]
        seen = await shown(host)
        assert (seen["state"], seen["lastOutput"]) == ("failed", ["no such account for •••"])
        assert "exit code 4" in seen["reason"]
        assert KEY not in json.dumps(seen)
        text_of(await call(host, "pid"))  # at once: it may have been an accident
        seen = await shown(host)
        assert (seen["state"], seen["reason"], seen["lastOutput"]) == ("running", None, [])
        assert containers.calls["start"] == 2


async def test_the_metrics_count_them_by_state(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, _):
        for name in ("one", "two", "three"):
            await put(host, f"/api/containers/ada/tool-servers/{name}")
        await call(host, "pid")
        await call(host, "exit", path="/api/containers/ada/tool-servers/two", code=1, text="")

        text = (await host.client.get("/metrics")).text

        for state, number in (("running", 1), ("failed", 1), ("stopped", 1), ("installing", 0)):
            assert f'ocmt_agent_tool_servers{{state="{state}"}} {number}.0' in text


async def test_one_that_ends_between_calls_is_noticed(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        await call(host, "pid")
        (process,) = containers.running
        process.kill()
        await until(lambda: server_of(host).shown().state == "failed")
        assert not containers.running
        text_of(await call(host, "pid"))


async def test_one_that_never_starts_is_tried_less_and_less_often(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host, arguments=["exit"])

        async def fail(*, starts: int) -> httpx2.Response:
            answer = await call(host, "pid")
            assert (answer.status_code, answer.json()["code"]) == (503, "tool-server-failed")
            assert answer.json()["lastOutput"] == ["cannot start: no key in •••"]
            assert containers.calls["start"] == starts
            return answer

        await fail(starts=1)
        await fail(starts=2)
        assert (await fail(starts=2)).headers["retry-after"] == "2"
        host.clock.advance(seconds=2)
        await fail(starts=3)
        host.clock.advance(seconds=2)
        await fail(starts=3)
        host.clock.advance(hours=1)
        await fail(starts=4)
        await put(host)  # another definition is tried at once
        text_of(await call(host, "pid"))


@pytest.mark.parametrize(
    ("fault", "method", "code"),
    [
        (PackageRefused("The package has another hash."), "install", "tool-package-failed"),
        (RuntimeFailed("The image is missing."), "start", "runtime-failed"),
        (RuntimeUnavailable("Docker does not answer."), "start", "runtime-unavailable"),
        (RuntimeUnavailable("Docker does not answer."), "install", "runtime-unavailable"),
    ],
)
async def test_what_the_machine_lacks_is_told(
    tmp_path: Path, fault: Exception, method: str, code: str
) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        containers.faults[method] = [fault]
        answers = await asyncio.gather(*(call(host, "pid") for _ in range(3)))
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, code)
            assert answer.json()["detail"] == str(fault)
        text_of(await call(host, "pid"))


async def test_a_full_host_starts_none(tmp_path: Path) -> None:
    figures = HostFigures(total=2**33, available=2**28, swap_total=0, swap_free=0, stalled=None)
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        host.room.figures = figures
        answer = await call(host, "pid")
        assert (answer.status_code, answer.json()["code"]) == (503, "host-full")
        host.room.figures = None
        text_of(await call(host, "pid"))
        assert containers.calls["start"] == 1


async def test_too_many_calls_at_once_are_refused(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, _):
        await put(host)
        calls = [call(host, "later", s=0.3) for _ in range(20)]
        codes = [answer.status_code for answer in await asyncio.gather(*calls)]
        assert (codes.count(200), codes.count(429)) == (16, 4)


async def test_an_answer_that_is_too_large_and_one_that_never_comes(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, _):
        await put(host)
        answer = await call(host, "big", bytes=5 * 1024 * 1024)
        assert (answer.status_code, answer.json()["code"]) == (502, "tool-answer-too-large")
        server_of(host)._answers_within_s = 0.4
        silent = asyncio.create_task(call(host, "never"))
        await until(lambda: server_of(host)._in_use == 1)
        text_of(await call(host, "pid"))
        answer = await silent
        assert (answer.status_code, answer.json()["code"]) == (504, "tool-server-timeout")
        answer = await call(host, "never")
        assert (answer.status_code, answer.json()["code"]) == (503, "tool-server-failed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":5}',
        b'{"jsonrpc":"2.0","id":{},"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}',
        b'{"jsonrpc":"2.0","id":"' + b"x" * 300 + b'","method":"tools/list"}',
        b"[" * 100_000,
    ],
)
async def test_what_is_no_request_is_refused(tmp_path: Path, body: bytes) -> None:
    async with tools_host(tmp_path) as (host, containers):
        await put(host)
        answer = await host.client.post(f"{PATH}/mcp", content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-message")
        assert not containers.calls


async def test_requests_are_bounded_and_of_a_known_version(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, _):
        await put(host)
        answer = await call(host, "echo", text="x" * 5_000_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        for version, status in (("2025-11-25", 200), ("2026-07-28", 400), ("x", 400)):
            answer = await post(host, ping, headers={"mcp-protocol-version": version})
            assert answer.status_code == status


@pytest.mark.parametrize(
    "changes",
    [
        {"package": "../etc"},
        {"package": "git+ssh://example.com/x"},
        {"package": "file:/etc"},
        {"package": "-g"},
        {"package": "UPPER"},
        {"version": "latest"},
        {"version": "^1.0.0"},
        {"version": "1.0"},
        {"version": "1.0.0 --ignore"},
        {"integrity": "sha1-abc"},
        {"integrity": f"sha512-{'A' * 85}=="},
        {"arguments": ["a\nb"]},
        {"arguments": ["x"] * 65},
        {"environment": {"LD_PRELOAD": "x"}},
        {"environment": {"PATH": "/"}},
        {"environment": {"A=B": "x"}},
        {"environment": {"A": "x\0y"}},
        {"command": "sh"},
    ],
)
async def test_what_is_no_definition_is_refused_without_its_values(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async with tools_host(tmp_path) as (host, _):
        answer = await host.client.put(PATH, json=DEFINITION | changes)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
        assert KEY not in answer.text
        assert (await host.client.get(PATH)).status_code == 404


@pytest.mark.parametrize("server_id", ["UPPER", "a b", "..", "x" * 64, "-x"])
async def test_server_ids_are_plain(tmp_path: Path, server_id: str) -> None:
    async with tools_host(tmp_path) as (host, _):
        path = f"/api/containers/ada/tool-servers/{server_id}"
        assert (await host.client.put(path, json=DEFINITION)).status_code in (404, 405, 422)


async def test_a_user_has_at_most_sixteen(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, _):
        for number in range(16):
            await put(host, f"/api/containers/ada/tool-servers/s{number}")
        answer = await host.client.put(PATH, json=DEFINITION)
        assert (answer.status_code, answer.json()["code"]) == (409, "too-many-tool-servers")
        await host.client.delete("/api/containers/ada/tool-servers/s3")
        await put(host)


async def test_without_containers_it_is_refused_with_the_cure(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        answer = await host.client.put(PATH, json=DEFINITION)
        assert (answer.status_code, answer.json()["code"]) == (409, "tool-servers-need-docker")
        assert "RUNTIME=docker" in answer.json()["detail"]
        assert (await call(host, "pid")).status_code == 404


async def test_a_definition_s_key_is_shown_nowhere(tmp_path: Path) -> None:
    async with tools_host(tmp_path) as (host, containers):
        assert KEY not in json.dumps(await put(host))
        await call(host, "pid")
        assert KEY not in repr(containers.launches[0])
        assert KEY not in repr(server_of(host).definition)
        assert not await asyncio.to_thread(files_with, KEY, tmp_path)


def files_with(text: str, folder: Path) -> list[Path]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if text.encode() in file.read_bytes()]
