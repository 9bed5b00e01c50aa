"""Finds and ends processes of an installation without a supervisor: servers and agents."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ocmt_common.container_names import instance_label, tools_label

from ocmt_cli import processes
from ocmt_cli.up.servers import OWNER

_GRACE_S = 10


@dataclass(frozen=True, slots=True)
class Ended:
    found: int
    """How many servers, gateways and containers were running."""
    left: list[str]
    """Names of those that could not be ended, for the operator."""


def end_orphans(data: Path) -> Ended:
    """End every server and agent of the data folder. Raises `CommandFailed` if Docker fails."""
    # Servers first, since a running one could start an agent again.
    servers = processes.find(lambda env: _is_server(env, data))
    left = processes.end(servers, grace_s=_GRACE_S)
    gateways = processes.find(lambda env: is_gateway(env, data))
    left += processes.end(gateways, grace_s=_GRACE_S)
    containers = _end_containers(data)
    return Ended(
        len(servers) + len(gateways) + containers.found,
        [f"process {pid}" for pid in left] + containers.left,
    )


def count_orphans(data: Path) -> int:
    """How many of the data folder's servers and gateways are running as processes."""
    found = processes.find(lambda env: _is_server(env, data) or is_gateway(env, data))
    for process in found:
        process.close()
    return len(found)


def _is_server(env: dict[str, str], data: Path) -> bool:
    return env.get(OWNER) == str(data)


def is_gateway(env: dict[str, str], data: Path) -> bool:
    """Whether a process with the environment `env` is, or descends from, a gateway of `data`."""
    return env.get("OPENCLAW_STATE_DIR", "").startswith(f"{data}/")


def _end_containers(data: Path) -> Ended:
    from ocmt_cli.engine import Engine, EngineSlow  # noqa: PLC0415 (the HTTP client takes 0.2 s)

    engine = Engine()
    try:
        if engine.version() is None:
            return Ended(0, [])
        agents = data / "agent" / "agents"
        labels = (instance_label(agents), tools_label(agents))
        running = [one for label in labels for one in engine.containers(label)]
        if not running:
            return Ended(0, [])
        with ThreadPoolExecutor(min(16, len(running))) as pool:
            list(pool.map(lambda one: engine.stop(one, grace_s=_GRACE_S), running))
        still = [one for label in labels for one in engine.containers(label)]
        left = [f"container {one.id[:12]}" for one in still]
        return Ended(len(running), left)
    except EngineSlow:
        unknown = (
            "containers, if there are any (the Docker Engine takes too long to answer; see why "
            "with `systemctl status docker`, then run this again)"
        )
        return Ended(0, [unknown])
    finally:
        engine.close()
