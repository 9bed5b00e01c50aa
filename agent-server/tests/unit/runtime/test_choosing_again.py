"""A folder's runtime is chosen once; a disk error does not lead to another choice."""

from pathlib import Path

import aiodocker.docker
import pytest
from ocmt_agent.runtime.base import Runtime, RuntimeUnavailable
from ocmt_agent.runtime.choose import RuntimeChoice, open_runtime
from ocmt_agent.runtime.spec import Limits


async def choose(folder: Path, choice: RuntimeChoice, *, with_node: bool = True) -> Runtime:
    return await open_runtime(
        choice,
        image="no/such:image",
        node=folder / "node" if with_node else None,
        openclaw_dir=folder,
        state_root=folder,
        limits=Limits(512, 1.0, 64),
        relay_host="127.0.0.1",
        relay_port=4001,
    )


@pytest.mark.parametrize("damaged", ["", "dock", "\0"])
async def test_a_damaged_note_never_turns_containers_into_processes(
    tmp_path: Path, damaged: str
) -> None:
    (tmp_path / ".runtime").write_text(damaged)

    with pytest.raises(RuntimeUnavailable, match="Set RUNTIME"):
        await choose(tmp_path, "auto")

    assert (tmp_path / ".runtime").read_text() == damaged


async def test_an_operators_choice_is_recorded_and_kept(tmp_path: Path) -> None:
    (tmp_path / ".runtime").write_text("")
    await (await choose(tmp_path, "docker")).close()
    assert (tmp_path / ".runtime").read_text() == "docker"

    again = await choose(tmp_path, "auto")
    assert again.name == "docker"
    await again.close()


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which no engine was ever started, or whose engine's socket is gone."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setattr(aiodocker.docker, "_sock_search_paths", [])


@pytest.mark.usefixtures("no_socket")
async def test_without_an_engine_s_socket_plain_processes_are_chosen(tmp_path: Path) -> None:
    chosen = await choose(tmp_path, "auto")
    assert chosen.name == "process"
    await chosen.close()


@pytest.mark.usefixtures("no_socket")
async def test_an_engine_without_its_socket_is_one_that_is_down(tmp_path: Path) -> None:
    chosen = await choose(tmp_path, "docker")
    (problem,) = await chosen.problems()
    assert "no socket found" in problem
    assert "systemctl start docker" in problem
    await chosen.close()


async def test_processes_that_cannot_be_started_are_not_blamed_on_docker(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"^The process runtime needs NODE_BINARY"):
        await choose(tmp_path, "process", with_node=False)


@pytest.mark.usefixtures("no_socket")
async def test_a_host_for_neither_runtime_is_told_why_docker_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"systemctl start docker.* NODE_BINARY"):
        await choose(tmp_path, "auto", with_node=False)


async def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RuntimeUnavailable, match="cannot be used: Not a directory"):
        await choose(tmp_path / "file" / "agents", "process")
