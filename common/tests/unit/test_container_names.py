"""Containers of an earlier release are found by the names that it used."""

from pathlib import Path

import pytest
from ocmt_common.container_names import container_name, instance_id, instance_label


@pytest.mark.parametrize(
    ("agents", "instance"),
    [
        ("/var/lib/ocmt-agent/agents", "d51b6c8822d0"),
        ("/nowhere/data/agent/agents", "87bd318403cb"),
        ("/nowhere/ü b/agents", "b421d93592c2"),
    ],
)
def test_the_names_are_those_of_earlier_releases(agents: str, instance: str) -> None:
    assert instance_id(Path(agents)) == instance
    assert instance_label(Path(agents)) == f"ocmt.instance={instance}"
    assert container_name(instance, "ada") == f"ocmt-{instance}-ada"


def test_a_folder_has_one_name_however_it_is_written(tmp_path: Path) -> None:
    agents = tmp_path / "data" / "agents"
    agents.mkdir(parents=True)
    (tmp_path / "link").symlink_to(agents)
    for other in (tmp_path / "link", tmp_path / "data" / ".." / "data" / "agents"):
        assert instance_id(other) == instance_id(agents)
    assert instance_id(tmp_path / "data" / "agents2") != instance_id(agents)
