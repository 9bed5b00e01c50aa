"""Stops a component completely, so that its data can be replaced."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ocmt_common.container_names import instance_label, tools_label

from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.hostside.supervisor import supervisor_of

_GRACE_S = 10


def halt(component: Component, data: str) -> None:
    """Stop the component's servers and, for an agent server, all agents with state below `data`."""
    if component.role == "ui":
        return
    supervisor = supervisor_of(component)
    for release in supervisor.running():
        supervisor.stop(release, within_s=component.drain_s + _GRACE_S)
    if component.role == "agent":
        agents = Path(data).resolve() / "agents"
        _end_containers(agents)
        _end_processes(agents)


def _end_containers(agents: Path) -> None:
    docker = shutil.which("docker")
    if docker is None:
        return
    for label in (instance_label(agents), tools_label(agents)):
        listed = _run(docker, "ps", "--quiet", "--filter", f"label={label}")
        for one in listed.split():
            _run(docker, "unpause", one)  # a paused one gets no signal
            _run(docker, "stop", f"--time={_GRACE_S}", one)


def _run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _end_processes(agents: Path) -> None:
    until = time.monotonic() + _GRACE_S
    while found := _processes(agents):
        number = signal.SIGTERM if time.monotonic() < until else signal.SIGKILL
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)
        time.sleep(0.2)


def _processes(agents: Path) -> list[int]:
    mark = f"OPENCLAW_STATE_DIR={agents}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found
