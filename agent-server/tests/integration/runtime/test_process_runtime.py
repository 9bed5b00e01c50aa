"""The process runtime's processes and files, with a double of Node.js that starts at once."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from ocmt_agent.runtime.base import ContainerStatus, RuntimeEvent, RuntimeFailed
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.process_command import marks
from ocmt_agent.runtime.processes import identify, spawn
from ocmt_agent.runtime.spec import Limits
from ocmt_testing.agent_server.gateway_program import stand_in_for_node
from ocmt_testing.agent_server.real_gateway import access_to, boot, spec_of, until_open


@pytest.fixture
def openclaw(tmp_path: Path) -> Path:
    """A folder with the double, and with the files by which the runtime recognises OpenClaw."""
    folder = tmp_path / "openclaw"
    stand_in_for_node(folder)
    return folder


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def runtime_on(root: Path, openclaw: Path) -> ProcessRuntime:
    root.mkdir(exist_ok=True)
    return ProcessRuntime(
        node=openclaw / "node",
        openclaw_dir=openclaw,
        state_root=root,
        limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
        relay_host="127.0.0.1",
        relay_port=9,
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


async def test_a_gateway_outlives_a_killed_server_and_the_next_one_manages_it(
    runtime: ProcessRuntime, session: aiohttp.ClientSession, tmp_path: Path, openclaw: Path
) -> None:
    root = tmp_path / "agents"
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SERVER, openclaw / "node", openclaw, root),
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


async def test_a_killed_gateway_is_noticed_at_once_and_its_children_end(
    runtime: ProcessRuntime, session: aiohttp.ClientSession
) -> None:
    spec = spec_of("bob")
    access = await boot(runtime, spec, session)
    record = runtime._running("bob")
    assert record is not None
    reports = runtime.events()

    left_behind = spawn(["/bin/sleep", "600"], environment=marks(runtime._home("bob")), output=1)
    assert left_behind is not None
    async with asyncio.timeout(60):  # its environment can be read a moment after its start
        while not Path(f"/proc/{left_behind.pid}/environ").read_bytes():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
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


async def test_a_reused_pid_is_neither_trusted_nor_signalled(
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


async def test_a_missing_openclaw_is_reported_with_its_remedy(tmp_path: Path) -> None:
    runtime = runtime_on(tmp_path / "agents", tmp_path / "nowhere")
    assert "OPENCLAW_DIR" in (await runtime.problems())[0]

    await runtime.create(spec_of("ada"))
    with pytest.raises(RuntimeFailed, match="not installed"):
        await runtime.start("ada")
    await runtime.close()


@pytest.mark.parametrize(
    "manifest", [None, "", "[]", "{}", '{"version": "latest"}', '{"version": "2026.9.6/../x"}']
)
async def test_an_openclaw_of_unknown_version_is_refused_with_the_remedy(
    runtime: ProcessRuntime, openclaw: Path, manifest: str | None
) -> None:
    assert await runtime.openclaw_version() == "2026.9.6"
    file = openclaw / "node_modules" / "openclaw" / "package.json"
    file.unlink()
    if manifest is not None:
        file.write_text(manifest)
    with pytest.raises(RuntimeFailed, match="OPENCLAW_DIR"):
        await runtime.openclaw_version()
