"""Tool servers in real containers: a real package of npm, and one that is hostile."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiodocker
import pytest
import pytest_asyncio
from ocmt_agent.clock import SystemClock
from ocmt_agent.runtime.accounts import host_account, host_tools_account
from ocmt_agent.tool_servers.container_config import MEMORY_MB
from ocmt_agent.tool_servers.containers import Launch, Package, PackageRefused
from ocmt_agent.tool_servers.docker_containers import DockerToolContainers
from ocmt_agent.tool_servers.manager import ToolServers
from ocmt_agent.tool_servers.server import UserToolServer
from ocmt_agent.tool_servers.stdio_session import SessionEnded, StdioSession
from ocmt_common.agent_api import ToolServerDefinition
from ocmt_common.container_names import TOOLS_LABEL, instance_id
from ocmt_common.openclaw import default_image
from ocmt_common.problems import Problem
from ocmt_testing.agent_server import tool_program
from ocmt_testing.agent_server.docker_agents import prepare, runtime_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILESYSTEM = Package(
    "@modelcontextprotocol/server-filesystem",
    "2026.8.31",
    "sha512-kKaFkyAh6oipvc9+EAbJ552JafnMnOq5nzmzWkp1jJdBhTAAGpmIpWihUG1+rfNhmEFM98gUZDdCHCDD4v6a7Q==",
)
HOSTILE = Package("hostile", "1.0.0", "sha512-x")
WITHIN_S = 60.0


class Room:
    """The folders of one agent server, and its tool servers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.containers = self.server()

    def server(self) -> DockerToolContainers:
        return DockerToolContainers(
            image=default_image(), agents=self.root / "agents", root=self.root / "tool-packages"
        )

    async def listed(self) -> list[dict[str, Any]]:
        async with aiodocker.Docker() as docker:
            label = f"{TOOLS_LABEL}={instance_id(self.root / 'agents')}"
            found = await docker.containers.list(all=True, filters={"label": [label]})
            return [dict(await one.show()) for one in found]

    def tools(self) -> ToolServers:
        return ToolServers(self.containers, has_room=lambda: True, clock=SystemClock())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    root = tmp_path_factory.mktemp("tools")
    (root / "agents").mkdir()
    prepare(root / "agents")
    made = Room(root)
    # As if it had been installed: the program is Python, and the image has none but Node's.
    plant_hostile(made.containers._folder(HOSTILE))
    yield made
    await made.containers.close()
    assert await made.listed() == []


def plant_hostile(folder: Path) -> None:
    folder.mkdir(parents=True)
    program = Path(tool_program.__file__).with_name("tool_program.mjs")
    start = folder / "start"
    start.write_bytes(program.read_bytes())
    start.chmod(0o755)


async def session(room: Room, *arguments: str, **environment: str) -> StdioSession:
    launch = Launch("ada", "hostile", 1, HOSTILE, arguments, environment)
    process = await room.containers.start(launch)
    opened = StdioSession(process, clock=SystemClock(), secrets=environment.values())
    await opened.initialize(within_s=WITHIN_S)
    return opened


async def call(opened: StdioSession, tool: str, **arguments: Any) -> str:
    params = json.dumps({"name": tool, "arguments": arguments}).encode()
    outcome = await opened.request("tools/call", params, within_s=WITHIN_S)
    return text_of(outcome)


def text_of(outcome: bytes) -> str:
    return str(json.loads(b"{" + outcome + b"}")["result"]["content"][0]["text"])


async def use(server: UserToolServer, tool: str, **arguments: Any) -> str:
    params = json.dumps({"name": tool, "arguments": arguments}).encode()
    return text_of(await server.request("tools/call", params))


async def test_a_real_package_is_installed_once_and_serves_two_users(room: Room) -> None:
    tools = room.tools()
    definition = ToolServerDefinition(
        package=FILESYSTEM.name,
        version=FILESYSTEM.version,
        integrity=FILESYSTEM.integrity,
        arguments=["/tmp"],
    )
    for number, user_id in enumerate(("ada", "ben"), start=1):
        await tools.define(user_id, "files", definition, number=number)
    ada, ben = (tools.get(user_id, "files") for user_id in ("ada", "ben"))
    listed = [server.request("tools/list", None) for server in (ada, ben, ada, ben)]
    for outcome in await asyncio.gather(*listed):
        names = [tool["name"] for tool in json.loads(b"{" + outcome + b"}")["result"]["tools"]]
        assert "write_file" in names
    assert len(await room.listed()) == 2
    (installed,) = [
        one for one in (room.root / "tool-packages").iterdir() if (one / "node_modules").is_dir()
    ]
    assert installed.stat().st_uid == host_account(0).uid

    await use(ada, "write_file", path="/tmp/note", content="ada's")
    assert "ada's" in await use(ada, "read_text_file", path="/tmp/note")
    assert "ENOENT" in await use(ben, "read_text_file", path="/tmp/note")
    assert "outside allowed" in await use(ada, "read_text_file", path="/etc/passwd")

    for shown in await room.listed():
        host = shown["HostConfig"]
        assert (host["Memory"], host["MemorySwap"]) == (MEMORY_MB << 20, MEMORY_MB << 20)
        assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True)
        assert host["LogConfig"]["Type"] == "none"
        assert list(shown["NetworkSettings"]["Networks"]) == ["ocmt-tools"]
        assert not any(mount["RW"] for mount in shown["Mounts"])
    # No agent's container, for the runtime of the same folder.
    runtime = runtime_on(room.root / "agents")
    assert await runtime.observe_all() == {}
    await runtime.close()
    await asyncio.gather(ada.close("over"), ben.close("over"))
    assert await room.listed() == []


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (Package(FILESYSTEM.name, FILESYSTEM.version, f"sha512-{'A' * 86}=="), "given hash"),
        (Package(FILESYSTEM.name, "0.0.1", FILESYSTEM.integrity), "does not have it"),
        (
            Package(
                "zod",
                "4.3.6",
                "sha512-rftlrkhHZOcjDwkGlnUtZZkvaPHCsDATp4pGpuOOMDaTdDDXF91wuVDJoWoPsKX/3YPQ5fHuF3STjcYyKr+Qhg==",
            ),
            "no program of its own name",
        ),
    ],
    ids=["another archive", "no such version", "a library"],
)
async def test_what_is_not_installed_leaves_nothing(
    room: Room, package: Package, words: str
) -> None:
    with pytest.raises(PackageRefused, match=words):
        await room.containers.install(package)
    assert not await room.containers.is_installed(package)
    assert await room.listed() == []
    assert not [one for one in (room.root / "tool-packages").glob(".*") if one.name != ".accounts"]


async def test_it_has_nothing_but_its_own(room: Room) -> None:
    key = "sk-0123456789"
    opened = await session(room, KEY=key)
    try:
        assert await call(opened, "environment", variable="KEY") == key
        assert await call(opened, "environment", variable="LD_PRELOAD") in ("", "-")
        assert await call(opened, "uid") == f"{host_tools_account(1).uid} node"
        for path in ("/package/x", "/etc/x", "/x", "/home/node/x", "/proc/sys/kernel/hostname"):
            assert await call(opened, "write", path=path) in ("EROFS", "EACCES", "EPERM", "ENOENT")
        assert await call(opened, "write", path="/tmp/x") == "ok"
        assert await call(opened, "write", path="/tmp/x", megabytes=100) == "ENOSPC"
        assert await call(opened, "capabilities") == "0000000000000000"
    finally:
        await opened.end("over")


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("flood-stdout", {}, "32 MB that are no answer"),
        ("big", {"bytes": 100 << 20}, "32 MB that are no answer|more memory"),
        ("memory", {}, "more memory than its container has"),
        ("exit", {"code": 5, "text": "bye\n"}, "exit code 5"),
        ("close-stdout", {}, "it ended"),
    ],
)
async def test_a_hostile_one_ends_and_leaves_nothing(
    room: Room, tool: str, arguments: dict[str, Any], reason: str
) -> None:
    opened = await session(room)
    with pytest.raises(SessionEnded, match=reason):
        await call(opened, tool, **arguments)
    await opened.end("over")
    assert await room.listed() == []


async def test_one_that_forks_reaches_its_limit_and_is_ended_whole(room: Room) -> None:
    opened = await session(room)
    try:
        assert int(await call(opened, "fork")) < 128
    finally:
        await opened.end("over")
    assert await room.listed() == []


async def test_what_a_killed_server_left_is_removed_and_what_is_used_is_not(room: Room) -> None:
    killed = room.server()
    left = await killed.start(Launch("ben", "hostile", 2, HOSTILE))
    draft = room.root / "tool-packages" / ".half-installed"
    draft.mkdir()
    (draft / "file").write_text("x")
    opened = await session(room)
    try:
        await room.containers.remove_leftovers()
        assert len(await room.listed()) == 1
        assert not draft.exists()
        assert await call(opened, "environment", variable="NONE") == "-"
    finally:
        await opened.end("over")
        await left.end()
        await killed.close()


async def test_a_start_that_is_given_up_leaves_nothing(room: Room) -> None:
    for wait_s in (0.0, 0.05, 0.15, 0.3):
        starting = asyncio.create_task(room.containers.start(Launch("ada", "x", 1, HOSTILE)))
        await asyncio.sleep(wait_s)
        starting.cancel()
        (started,) = await asyncio.gather(starting, return_exceptions=True)
        if not isinstance(started, BaseException):
            await started.end()
    await room.containers.remove_leftovers()
    assert await room.listed() == []


async def test_a_missing_image_is_told_with_its_cure(room: Room) -> None:
    containers = DockerToolContainers(
        image="ocmt/no-such-image:1",
        agents=room.root / "agents",
        root=room.root / "tool-packages",
    )
    tools = ToolServers(containers, has_room=lambda: True, clock=SystemClock())
    definition = ToolServerDefinition(
        package=FILESYSTEM.name, version=FILESYSTEM.version, integrity=f"sha512-{'B' * 86}=="
    )
    await tools.define("ada", "files", definition, number=1)
    with pytest.raises(Problem, match="ocmt image build"):
        await tools.get("ada", "files").request("tools/list", None)
    await tools.close()
