"""What holds a folder's agents is decided once, and a slip of the disk does not decide it anew."""

from pathlib import Path

import pytest
from ocmt_agent.runtime.base import Runtime, RuntimeUnavailable
from ocmt_agent.runtime.choose import RuntimeChoice, open_runtime
from ocmt_agent.runtime.spec import Limits


async def choose(folder: Path, choice: RuntimeChoice) -> Runtime:
    return await open_runtime(
        choice,
        image="no/such:image",
        node=folder / "node",
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


async def test_a_choice_made_by_the_operator_is_noted_and_kept(tmp_path: Path) -> None:
    (tmp_path / ".runtime").write_text("")
    await (await choose(tmp_path, "docker")).close()
    assert (tmp_path / ".runtime").read_text() == "docker"

    again = await choose(tmp_path, "auto")
    assert again.name == "docker"
    await again.close()


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RuntimeUnavailable, match="cannot be used: Not a directory"):
        await choose(tmp_path / "file" / "agents", "process")
