"""A freeze that the kernel does not finish, and machines on which no group can be created."""

from pathlib import Path

import pytest
from ocmt_agent.runtime.cgroup import Cgroup, CgroupTree, probe
from ocmt_agent.runtime.spec import Limits


def test_a_freeze_that_does_not_finish_is_undone(tmp_path: Path) -> None:
    folder = tmp_path / "ada"
    folder.mkdir()
    (folder / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    group = Cgroup(CgroupTree({"": tmp_path}), "ada", freeze_within_s=0.01)

    with pytest.raises(TimeoutError):
        group.set_frozen(True)
    assert (folder / "cgroup.freeze").read_text() == "0"


def test_without_control_groups_nothing_is_limited_and_nothing_fails(tmp_path: Path) -> None:
    tree = probe("ocmt", root=tmp_path)
    assert not tree.limits_memory
    group = Cgroup(tree, "ada")

    group.make(Limits(memory_mb=64, cpus=1.0, pids=4))
    assert group.join_files() == []
    assert group.pids() == []
    assert not group.can_freeze(1)
    assert not group.is_frozen()
    assert group.cpu_seconds() is None
    assert not group.out_of_memory()
    group.remove()
    tree.remove()
