"""What an installation left running, and ending it: servers without a supervisor, and agents."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ocmt_cli import processes
from ocmt_cli.up.servers import OWNER

_GRACE_S = 10


def end_leftovers(data: Path) -> list[str]:
    """End every server and agent of the data folder; what could not be ended, for the operator."""
    # Servers first: one that still ran could start an agent again.
    servers = processes.find(lambda env: env.get(OWNER) == str(data))
    left = processes.end(servers, grace_s=_GRACE_S)
    gateways = processes.find(lambda env: env.get("OPENCLAW_STATE_DIR", "").startswith(f"{data}/"))
    left += processes.end(gateways, grace_s=_GRACE_S)
    return [f"process {pid}" for pid in left] + _end_containers(data)


def instance_label(data: Path) -> str:
    """The label by which the agent server marks the containers of this data folder."""
    state_root = (data / "agent" / "agents").resolve()
    return f"ocmt.instance={hashlib.sha256(str(state_root).encode()).hexdigest()[:12]}"


def _end_containers(data: Path) -> list[str]:
    from ocmt_cli.engine import Engine  # noqa: PLC0415 (a client for HTTP takes 0.2 s)

    engine = Engine()
    try:
        if engine.version() is None:
            return []
        running = engine.containers(instance_label(data))
        if not running:
            return []
        with ThreadPoolExecutor(min(16, len(running))) as pool:
            list(pool.map(lambda one: engine.stop(one, grace_s=_GRACE_S), running))
        return [f"container {one.id[:12]}" for one in engine.containers(instance_label(data))]
    finally:
        engine.close()
