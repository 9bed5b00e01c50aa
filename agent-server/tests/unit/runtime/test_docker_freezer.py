import os
from pathlib import Path

from ocmt_agent.runtime.docker_freezer import freezers, thaw


def test_the_freezer_is_found_in_both_versions_and_drivers(tmp_path: Path) -> None:
    v1 = "7:memory:/docker/abc\n5:freezer:/docker/abc\n0::/\n"
    file = tmp_path / "freezer/docker/abc/freezer.state"
    assert freezers(v1, root=tmp_path) == [(file, frozenset({"FROZEN", "FREEZING"}), "THAWED")]
    v2 = "0::/system.slice/docker-abc.scope\n"
    file = tmp_path / "system.slice/docker-abc.scope/cgroup.freeze"
    assert freezers(v2, root=tmp_path) == [(file, frozenset({"1"}), "0")]


def test_a_number_that_means_another_process_here_is_left_alone() -> None:
    assert not thaw("0123456789abcdef", os.getpid())
    assert not thaw("0123456789abcdef", 0)
