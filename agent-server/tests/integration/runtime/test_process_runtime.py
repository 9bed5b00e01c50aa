"""The process runtime with the real OpenClaw."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.runtime.base import ContainerStatus, RuntimeEvent, RuntimeFailed
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.process_command import marks
from ocmt_agent.runtime.processes import identify, spawn
from ocmt_agent.runtime.spec import Limits
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary
from ocmt_testing.agent_server.real_gateway import access_to, boot, spec_of, suspend, until_open


@pytest.fixture(scope="module")
def openclaw() -> Path:
    return installed_openclaw()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def runtime_on(root: Path, openclaw: Path, *, relay_port: int = 9) -> ProcessRuntime:
    root.mkdir(exist_ok=True)
    return ProcessRuntime(
        node=node_binary(),
        openclaw_dir=openclaw,
        state_root=root,
        limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
        relay_host="127.0.0.1",
        relay_port=relay_port,
    )


@pytest.fixture
async def runtime(tmp_path: Path, openclaw: Path) -> AsyncIterator[ProcessRuntime]:
    made = runtime_on(tmp_path / "agents", openclaw)
    try:
        yield made
    finally:
        for user_id in await made.observe_all():
            await made.remove(user_id, with_state=True)
        await made.close()


async def test_a_gateway_sleeps_outlives_its_server_and_wakes_with_its_lease(
    runtime: ProcessRuntime, session: aiohttp.ClientSession, tmp_path: Path, openclaw: Path
) -> None:
    spec = spec_of("ada")
    access = await boot(runtime, spec, session)
    lease = await suspend(access, session)

    await runtime.pause("ada")
    observed = await runtime.inspect("ada")
    assert observed is not None
    assert observed.status is ContainerStatus.PAUSED
    used_s = await runtime.cpu_seconds("ada")
    assert not await OpenClawControl(session).is_live(access)
    assert await runtime.cpu_seconds("ada") == used_s

    await runtime.close()
    restarted = runtime_on(tmp_path / "agents", openclaw)
    assert (await restarted.observe_all())["ada"].status is ContainerStatus.PAUSED
    await restarted.unpause("ada")
    await OpenClawControl(session).resume(access, lease)
    await until_open(access, session)

    await restarted.stop("ada", grace_s=10)
    stopped = await restarted.inspect("ada")
    assert stopped is not None
    assert stopped.status is ContainerStatus.EXITED
    assert stopped.endpoint is None
    await restarted.close()


_SERVER = """
import asyncio, sys
from pathlib import Path
from ocmt_testing.agent_server.real_gateway import spec_of
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits

async def serve():
    node, openclaw, root = map(Path, sys.argv[1:4])
    runtime = ProcessRuntime(node=node, openclaw_dir=openclaw, state_root=root,
        limits=Limits(memory_mb=2048, cpus=2.0, pids=512), relay_host="127.0.0.1", relay_port=9)
    await runtime.create(spec_of("zoe"))
    await runtime.start("zoe")
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


async def test_a_gateway_outlives_a_killed_server_and_the_next_one_sees_to_it(
    runtime: ProcessRuntime, session: aiohttp.ClientSession, tmp_path: Path, openclaw: Path
) -> None:
    root = tmp_path / "agents"
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SERVER, node_binary(), openclaw, root),
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"started\n"
    server.kill()
    await server.wait()

    found = (await runtime.observe_all())["zoe"]
    assert found.status is ContainerStatus.RUNNING
    assert found.endpoint is not None
    spec = spec_of("zoe")
    await until_open(access_to(spec, found.endpoint), session)
    await runtime.create(spec)
    assert await runtime.start("zoe") == found.endpoint  # the same settings: the same process
    first = runtime._running("zoe")
    assert first is not None

    await runtime.create(spec_of("zoe", agent_token="another-agent-token-012"))
    assert first.process.state() is None  # other settings: ended
    await runtime.start("zoe")
    second = runtime._running("zoe")
    assert second is not None

    await runtime.close()  # and once more, by a server that did not start it
    heir = runtime_on(root, openclaw)
    reports = heir.events()
    reported = asyncio.ensure_future(anext(reports))
    await asyncio.sleep(0)  # it listens now
    os.kill(second.process.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await reported == RuntimeEvent("zoe", "die")
    await heir.close()


async def test_a_gateway_finds_its_model_and_its_tools_with_its_own_token(
    tmp_path: Path, session: aiohttp.ClientSession, openclaw: Path
) -> None:
    """Nobody serves tools here: the relay's 404 must neither hold up nor break a conversation."""
    asked: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.headers.get("Authorization")))
        if request.path != "/llm/v1/chat/completions":
            raise web.HTTPNotFound
        body = await request.json()
        assert body["model"] == "default"
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "default"}
        said = [{"delta": {"role": "assistant", "content": "I am here."}, "finish_reason": None},
                {"delta": {}, "finish_reason": "stop"}]  # fmt: skip
        lines = [json.dumps({**chunk, "choices": [{"index": 0, **choice}]}) for choice in said]
        text = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        return web.Response(text=text, content_type="text/event-stream")

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as relay:
        assert relay.port is not None
        runtime = runtime_on(tmp_path / "agents", openclaw, relay_port=relay.port)
        spec = spec_of("liv")
        try:
            access = await boot(runtime, spec, session)
            reply = await session.post(
                f"{access.endpoint.url}/v1/chat/completions",
                json={"model": "openclaw", "messages": [{"role": "user", "content": "There?"}]},
                headers={"Authorization": f"Bearer {spec.gateway_token}"},
            )
            said = (await reply.json())["choices"][0]["message"]["content"]
        finally:
            await runtime.remove("liv", with_state=True)
            await runtime.close()

    assert said == "I am here."
    bearer = f"Bearer {spec.agent_token}"
    assert ("/llm/v1/chat/completions", bearer) in asked
    assert ("/mcp", bearer) in asked


async def test_a_killed_gateway_is_seen_at_once_and_starts_again_on_its_state(
    runtime: ProcessRuntime, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    spec = spec_of("bob")
    access = await boot(runtime, spec, session)
    record = runtime._running("bob")
    assert record is not None
    reports = runtime.events()

    left_behind = spawn(["/bin/sleep", "600"], environment=marks(runtime._home("bob")), output=1)
    assert left_behind is not None
    os.kill(record.process.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert (await anext(reports)).kind == "die"
    observed = await runtime.inspect("bob")
    assert observed is not None
    assert observed.status is ContainerStatus.EXITED
    assert observed.exit_code == -signal.SIGKILL

    again = await boot(runtime, spec, session)
    assert left_behind.state() is None
    assert await left_behind.ended() == -signal.SIGKILL
    assert again.endpoint.port > 0
    assert access.endpoint is not None
    assert (tmp_path / "agents" / "bob" / "state" / "state" / "openclaw.sqlite").exists()


async def test_two_starts_at_once_make_one_process(runtime: ProcessRuntime) -> None:
    spec = spec_of("eve")
    await asyncio.gather(runtime.create(spec), runtime.create(spec))
    first, second = await asyncio.gather(runtime.start("eve"), runtime.start("eve"))

    assert first == second


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_no_token_is_on_a_command_line_or_readable_by_others(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    spec = spec_of("kim")
    await runtime.create(spec)
    await runtime.start("kim")
    record = runtime._running("kim")
    assert record is not None

    command = command_of(record.process.pid)
    assert str(spec.gateway_token).encode() not in command
    assert str(spec.agent_token).encode() not in command
    home = tmp_path / "agents" / "kim"
    assert home.stat().st_mode & 0o077 == 0
    for file in (home / "openclaw.json", home / "process.json"):
        assert str(spec.gateway_token) not in file.read_text()


async def test_a_pid_that_was_reused_is_neither_believed_nor_signalled(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    await runtime.create(spec_of("max"))
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        known = identify(bystander.pid)
        assert known is not None
        record = tmp_path / "agents" / "max" / "process.json"
        reused = {"pid": known.pid, "startedTicks": known.started_ticks - 1, "port": 1, "spec": ""}
        record.write_text(json.dumps(reused))

        observed = await runtime.inspect("max")
        assert observed is not None
        assert observed.status is ContainerStatus.EXITED
        with pytest.raises(RuntimeFailed):
            await runtime.pause("max")
        await runtime.stop("max", grace_s=1)
        assert bystander.returncode is None
        assert known.state() is not None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_link_planted_in_the_agent_s_folder_leads_nowhere(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    spec = spec_of("mal")
    await runtime.create(spec)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    state = tmp_path / "agents" / "mal" / "state"
    (state / "link").symlink_to(victim)

    await runtime.start("mal")
    await runtime.remove("mal", with_state=True)

    assert victim.read_text() == "precious"
    assert not state.exists()


async def test_a_missing_openclaw_is_told_with_its_cure(tmp_path: Path) -> None:
    runtime = runtime_on(tmp_path / "agents", tmp_path / "nowhere")
    assert "OPENCLAW_DIR" in (await runtime.problems())[0]

    await runtime.create(spec_of("ada"))
    with pytest.raises(RuntimeFailed, match="not installed"):
        await runtime.start("ada")
    await runtime.close()
