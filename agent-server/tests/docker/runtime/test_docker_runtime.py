"""The Docker runtime with the real engine, the real image and the real OpenClaw."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiodocker
import pytest
from ocmt_agent.runtime import docker_network
from ocmt_agent.runtime.accounts import host_account
from ocmt_agent.runtime.base import (
    Runtime,
    RuntimeFailed,
    RuntimeUnavailable,
)
from ocmt_agent.runtime.choose import RuntimeChoice, open_runtime
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.process_home import AgentHome
from ocmt_agent.runtime.spec import Limits
from ocmt_agent.upgrades.copies import StateCopies
from ocmt_cli.openclaw.commands import build_image
from ocmt_common.openclaw import default_image, openclaw_version
from ocmt_testing.agent_server.engine_socket import EngineSocket
from ocmt_testing.agent_server.openclaw import installed_openclaw
from ocmt_testing.agent_server.real_gateway import spec_of


@pytest.fixture(scope="module")
def image() -> str:
    build_image(installed_openclaw())
    return default_image()


def runtime_on(root: Path, image: str) -> DockerRuntime:
    return DockerRuntime(
        image=image,
        state_root=root,
        limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
        relay_host=None,
        relay_port=9,
    )


@pytest.fixture
async def runtime(image: str, tmp_path: Path) -> AsyncIterator[DockerRuntime]:
    # A container's user must be able to pass through to its own folder.
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o711)
    made = runtime_on(tmp_path, image)
    try:
        yield made
    finally:
        for user_id in await made.observe_all():
            await made.remove(user_id, with_state=True)
        await made.close()


async def shown(runtime: DockerRuntime, user_id: str) -> dict[str, object]:
    async with aiodocker.Docker() as docker:
        container = await docker.containers.get(runtime._name(user_id))
        return dict(await container.show())


async def test_a_container_is_as_strict_as_it_must_be(runtime: DockerRuntime) -> None:
    await runtime.create(spec_of("ada"))
    container = await shown(runtime, "ada")
    host, config = container["HostConfig"], container["Config"]
    assert isinstance(host, dict)
    assert isinstance(config, dict)

    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] is None
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Privileged"] is False
    assert host["ReadonlyRootfs"] is True
    assert host["Init"] is True
    assert host["PidsLimit"] == 512
    assert host["NanoCpus"] == 2_000_000_000
    assert host["Memory"] == 2048 * 1024 * 1024
    assert host["MemorySwap"] == 2 * 2048 * 1024 * 1024
    assert not host["PortBindings"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"]["Config"] == {"max-size": "5m", "max-file": "2"}
    account = host_account(1)
    assert account.uid > 1000
    assert config["User"] == f"{account.uid}:{account.gid}"
    assert config["Hostname"].startswith("agent-")
    mounts = {m["Target"]: m for m in host["Mounts"]}
    writable = {target for target, mount in mounts.items() if not mount.get("ReadOnly")}
    assert writable == {"/home/node/.openclaw"}
    assert set(mounts) - writable == {"/etc/openclaw", "/etc/passwd", "/etc/group"}
    assert not any("docker.sock" in m["Source"] for m in mounts.values())


async def test_two_creates_at_once_make_one_container(runtime: DockerRuntime) -> None:
    spec = spec_of("eve")
    await asyncio.gather(*(runtime.create(spec) for _ in range(4)))

    assert list(await runtime.observe_all()) == ["eve"]


async def test_equal_settings_keep_the_container_and_a_new_token_replaces_it(
    runtime: DockerRuntime,
) -> None:
    await runtime.create(spec_of("kim"))
    first = (await shown(runtime, "kim"))["Id"]
    await runtime.create(spec_of("kim"))
    assert (await shown(runtime, "kim"))["Id"] == first

    await runtime.create(spec_of("kim", agent_token="another-agent-token-012"))
    assert (await shown(runtime, "kim"))["Id"] != first


async def test_servers_that_make_the_same_container_at_once_share_it(
    runtime: DockerRuntime, image: str, tmp_path: Path
) -> None:
    """The state after a call that was cut here but completed by the engine: our name is taken."""
    others = [runtime_on(tmp_path, image) for _ in range(3)]
    try:
        await asyncio.gather(*(each.create(spec_of("eve")) for each in (runtime, *others)))
        assert list(await runtime.observe_all()) == ["eve"]
    finally:
        for other in others:
            await other.close()


async def test_a_foreign_container_of_the_same_name_is_reported_and_not_touched(
    runtime: DockerRuntime, image: str
) -> None:
    async with aiodocker.Docker() as docker:
        foreign = await docker.containers.create({"Image": image}, name=runtime._name("eve"))
        try:
            with pytest.raises(RuntimeFailed, match="docker rm -f"):
                await runtime.create(spec_of("eve"))
            assert await runtime.observe_all() == {}
            await foreign.show()
        finally:
            await foreign.delete(force=True)


async def test_a_folder_that_plain_processes_used_becomes_the_container_s(
    runtime: DockerRuntime, tmp_path: Path
) -> None:
    home = AgentHome(tmp_path / "ada")
    home.make()
    (home.state / "notes").mkdir()
    (home.state / "notes" / "one").write_text("mine")
    outside = tmp_path / "outside"
    outside.write_text("not mine")
    (home.state / "link").symlink_to(outside)

    await runtime.create(spec_of("ada"))

    for path in (home.state, home.state / "notes", home.state / "notes" / "one"):
        assert path.stat().st_uid == host_account(1).uid
    assert outside.stat().st_uid == 0


async def test_a_state_that_went_back_to_its_copy_is_the_container_s_again(
    runtime: DockerRuntime, tmp_path: Path
) -> None:
    assert await runtime.openclaw_version() == openclaw_version()
    spec, state, copies = spec_of("ada"), tmp_path / "ada" / "state", StateCopies(tmp_path)
    await runtime.create(spec)
    note = state / "note"
    note.write_text("before")
    note.chmod(0o6755)
    at = datetime.now(UTC)
    copy = await copies.take(state, "ada", version="2026.8.1", at=at)
    note.write_text("after")
    await runtime.remove("ada", with_state=False)
    await copies.make_own(state)
    aside = copies.set_aside(state, "ada", version="2026.9.6", at=at)
    assert (aside.folder / "note").stat().st_uid == 0
    copies.put_back(copy, state)

    await runtime.create(spec)

    assert note.read_text() == "before"
    seen = note.stat()
    assert (seen.st_uid, seen.st_mode & 0o7777) == (host_account(1).uid, 0o755)
    assert "ada" in await runtime.observe_all()


async def test_a_network_that_lets_agents_reach_each_other_is_refused(
    runtime: DockerRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_network, "NETWORK", "bridge")  # the engine's own, which is open
    with pytest.raises(RuntimeFailed, match="reach each other"):
        await runtime.create(spec_of("ada"))
    assert await runtime.observe_all() == {}


async def test_another_server_s_containers_are_not_seen(
    runtime: DockerRuntime, image: str, tmp_path: Path
) -> None:
    await runtime.create(spec_of("ada"))
    other_root = tmp_path / "other"
    other_root.mkdir()
    other = runtime_on(other_root, image)

    assert await other.observe_all() == {}
    assert await other.inspect("ada") is None
    await other.close()


async def test_the_engine_reports_what_happens(runtime: DockerRuntime) -> None:
    seen: list[tuple[str, str]] = []
    started = asyncio.Event()

    async def listen() -> None:
        async for event in runtime.events():
            seen.append((event.user_id, event.kind))
            if event.kind == "start":
                started.set()
            if event.kind == "remove":
                return

    listening = asyncio.create_task(listen())
    await runtime.create(spec_of("ada"))
    async with asyncio.timeout(30):
        while not started.is_set():  # the stream may attach after a first start
            await runtime.start("ada")
            await runtime.stop("ada", grace_s=0)
        await runtime.remove("ada", with_state=True)
        await listening

    assert {("ada", "start"), ("ada", "die"), ("ada", "remove")} <= set(seen)


async def test_a_missing_image_is_reported_with_its_remedy_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    runtime = runtime_on(tmp_path, "ocmt/no-such-image:1")

    assert "ocmt image build" in (await runtime.problems())[0]
    with pytest.raises(RuntimeFailed, match="ocmt image build"):
        await runtime.create(spec_of("ada"))
    assert await runtime.observe_all() == {}
    await runtime.close()


async def test_an_engine_that_goes_away_is_reported_and_used_again_when_it_returns(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a socket that the test cuts and restores, since others use the engine too."""
    path = tmp_path / "engine.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    runtime = runtime_on(tmp_path, image)

    async def assert_gone() -> None:
        with pytest.raises(RuntimeUnavailable, match="systemctl start docker"):
            await runtime.observe_all()
        with pytest.raises(RuntimeUnavailable):
            await runtime.start("ada")
        with pytest.raises(RuntimeUnavailable):
            await anext(runtime.events())
        assert "Docker does not answer" in (await runtime.problems())[0]

    await assert_gone()
    for _ in range(2):
        async with EngineSocket(path) as engine:
            assert await runtime.observe_all() == {}
            assert await runtime.problems() == []
            reports = asyncio.ensure_future(anext(runtime.events()))
            await engine.asked_for("/events")
        with pytest.raises(RuntimeUnavailable):
            await reports
        await assert_gone()
    await runtime.close()


async def test_auto_chooses_docker_and_keeps_it_while_the_engine_is_away(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def opened(choice: RuntimeChoice, root: Path) -> Runtime:
        runtime = await open_runtime(
            choice,
            image=image,
            node=Path("/usr/bin/env"),
            openclaw_dir=tmp_path,
            state_root=root,
            limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
            relay_host=None,
            relay_port=9,
        )
        await runtime.close()
        return runtime

    assert (await opened("auto", tmp_path / "old")).name == "docker"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    assert (await opened("auto", tmp_path / "old")).name == "docker"
    assert (await opened("auto", tmp_path / "new")).name == "process"
    monkeypatch.undo()
    assert (await opened("auto", tmp_path / "new")).name == "process"
    assert (await opened("docker", tmp_path / "new")).name == "docker"
    assert (await opened("auto", tmp_path / "new")).name == "docker"
