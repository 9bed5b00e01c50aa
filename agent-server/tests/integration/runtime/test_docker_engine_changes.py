"""An engine that is upgraded, downgraded, or already removing a container."""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ocmt_agent.runtime import docker_engine
from ocmt_agent.runtime.accounts import Account
from ocmt_agent.runtime.base import AgentSpec, RuntimeFailed, SecretText
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_common.container_names import USER_LABEL
from ocmt_testing.agent_server.scripted_engine import ScriptedEngine


@asynccontextmanager
async def engine_and_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, newest: str = "1.44", oldest: str = "1.24"
) -> AsyncIterator[tuple[ScriptedEngine, DockerRuntime]]:
    socket = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    monkeypatch.setattr(docker_engine, "_REMOVAL_POLL_S", 0.001)
    runtime = DockerRuntime(
        image="ocmt",
        state_root=tmp_path,
        limits=Limits(memory_mb=1024, cpus=1, pids=100),
        relay_host="127.0.0.1",
        relay_port=1,
    )
    async with ScriptedEngine(socket, newest=newest, oldest=oldest) as engine:
        engine.labels = {USER_LABEL: "ada"}
        try:
            yield engine, runtime
        finally:
            await runtime.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("1.41", "1.12"), ("1.52", "1.44")),  # Debian's 20.10 → Docker 29
        (("1.52", "1.44"), ("1.47", "1.24")),  # a rollback
        (("1.43", "1.12"), ("1.53", "1.50")),
    ],
    ids=["upgraded", "rolled back", "two steps"],
)
async def test_an_engine_of_another_version_is_spoken_to_without_a_restart(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[str, str],
    after: tuple[str, str],
) -> None:
    newest, oldest = before
    async with engine_and_runtime(tmp_path, monkeypatch, newest=newest, oldest=oldest) as (
        engine,
        runtime,
    ):
        assert set(await runtime.observe_all()) == {"ada"}
        engine.newest, engine.oldest = after
        await runtime.pause("ada")
        assert set(await runtime.observe_all()) == {"ada"}
        await runtime.stop("ada", grace_s=1)
        # Negotiated once, not for every call.
        assert engine.asked.count("GET /version") == 2


def emptied(file: Path) -> None:
    file.write_text("")


def damaged(file: Path) -> None:
    file.write_text("{{{")


def locked(file: Path) -> None:
    file.chmod(0)


def removed(file: Path) -> None:
    file.unlink()


def removed_with_its_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def a_folder_locked(file: Path) -> None:
    file.parent.chmod(0o700)


@pytest.mark.parametrize("name", ["config/openclaw.json", "account/passwd", "account/group"])
@pytest.mark.parametrize(
    "damage", [emptied, damaged, locked, removed, removed_with_its_folder, a_folder_locked]
)
async def test_files_of_ours_that_are_damaged_are_mended_before_a_container_starts_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    damage: Callable[[Path], None],
) -> None:
    async def made(*_: object) -> bool:
        return True

    monkeypatch.setattr(DockerRuntime, "_is_made", made)
    monkeypatch.setattr(DockerRuntime, "_image_id", made)
    monkeypatch.setattr("ocmt_agent.runtime.docker.ensure_network", made)
    own = Account(os.geteuid(), os.getegid())
    monkeypatch.setattr(DockerRuntime, "_account", lambda *_: own)
    spec = AgentSpec("ada", SecretText("g" * 32), SecretText("a" * 32), 1)
    async with engine_and_runtime(tmp_path, monkeypatch) as (_, runtime):
        await runtime.create(spec)
        file = tmp_path / "ada" / name
        text, inode = file.read_text(), file.stat().st_ino
        await runtime.create(spec)
        assert file.stat().st_ino == inode, "it was right, and costs no write"
        damage(file)
        await runtime.create(spec)
        assert file.read_text() == text
        assert file.stat().st_mode & 0o777 == 0o644
        assert file.parent.stat().st_mode & 0o777 == 0o755


async def test_a_state_is_moved_into_a_home_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Account(os.geteuid(), os.getegid())
    monkeypatch.setattr(DockerRuntime, "_account", lambda *_: own)
    said = tmp_path / "ada" / "state" / "said"
    said.parent.mkdir(parents=True)
    said.write_text("by ada")
    spec = AgentSpec("spare", SecretText("g" * 32), SecretText("a" * 32), 1)
    async with engine_and_runtime(tmp_path, monkeypatch) as (_, runtime):
        await runtime.inherit(spec, "ada")
    assert (tmp_path / "spare" / "state" / "said").read_text() == "by ada"
    assert (tmp_path / "spare" / "config" / "openclaw.json").exists()


async def test_another_refusal_is_not_mistaken_for_a_version_mismatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_and_runtime(tmp_path, monkeypatch) as (engine, runtime):
        engine.other = {"/pause": (400, "invalid reference format")}
        with pytest.raises(RuntimeFailed, match="invalid reference"):
            await runtime.pause("ada")
        assert engine.asked.count("GET /version") == 1


@pytest.mark.parametrize(
    "answers",
    [
        [(404, "No such container: c1")],
        [(409, "removal of container c1 is already in progress"), (404, "No such container: c1")],
        [(409, "removal of container c1 is already in progress")] * 3,
        [(500, "driver failed to remove root filesystem: device or resource busy")] * 2,
    ],
    ids=["gone", "going", "going for longer", "busy"],
)
async def test_removing_a_container_that_is_gone_or_being_removed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[tuple[int, str]]
) -> None:
    async with engine_and_runtime(tmp_path, monkeypatch) as (engine, runtime):
        engine.deletions = list(answers)
        await runtime.remove("ada", with_state=False)
        assert engine.gone
        assert await runtime.inspect("ada") is None


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "No such container: c1"), (409, "Container c1 is marked for removal")],
)
async def test_one_that_goes_before_it_is_thawed_is_removed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, message: str
) -> None:
    async with engine_and_runtime(tmp_path, monkeypatch) as (engine, runtime):
        engine.other = {"/unpause": (status, message)}
        await runtime.remove("ada", with_state=False)
        assert engine.gone


async def test_a_removal_that_never_ends_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_and_runtime(tmp_path, monkeypatch) as (engine, runtime):
        engine.deletions = [(409, "removal of container c1 is already in progress")] * 1000
        with pytest.raises(RuntimeFailed, match="systemctl restart docker"):
            await runtime.remove("ada", with_state=False)


async def test_another_refusal_to_remove_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_and_runtime(tmp_path, monkeypatch) as (engine, runtime):
        engine.deletions = [(500, "internal error")]
        with pytest.raises(RuntimeFailed, match="internal error"):
            await runtime.remove("ada", with_state=False)


async def test_the_log_of_one_start_is_requested_from_that_start_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_and_runtime(tmp_path, monkeypatch) as (engine, runtime):
        await runtime.logs("ada", lines=5, this_start=True)
        assert any("since=1795953600.5" in one for one in engine.asked)
        await runtime.logs("ada", lines=5)
        assert "since=0" in engine.asked[-1]
