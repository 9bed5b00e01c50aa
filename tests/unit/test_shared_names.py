"""What the command must know about the agent server without importing it."""

from pathlib import Path

from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.docker_container import INSTANCE_LABEL
from ocmt_agent.runtime.spec import Limits
from ocmt_cli.orphans import instance_label


def test_the_command_looks_for_containers_by_the_label_that_the_agent_server_sets(
    tmp_path: Path,
) -> None:
    runtime = DockerRuntime(
        image="image",
        state_root=tmp_path / "agent" / "agents",
        limits=Limits(memory_mb=1024, cpus=1, pids=100),
        relay_host=None,
        relay_port=4001,
    )
    assert instance_label(tmp_path) == f"{INSTANCE_LABEL}={runtime._instance}"
