"""`ocmt status`: the servers and all agents, as text or JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from ocmt_common.console import say, say_json

from ocmt_cli import processes
from ocmt_cli.checkout import DEFAULT_DATA, command
from ocmt_cli.orphans import count_orphans, is_gateway
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.health import get
from ocmt_cli.up.run_state import Record, read_record
from ocmt_cli.up.servers import agent_port

SERVERS = Path("ocmt.toml")
"""Equals `deploy.inventory.DEFAULT_FILE`, without its imports."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="The data folder of an installation on this machine.")
    ] = None,
    inventory: Annotated[
        Path | None,
        typer.Option(help="The inventory of servers; default: ocmt.toml, if there is one."),
    ] = None,
) -> None:
    """Show this machine's servers and agents or, with an inventory, the hosts' components."""
    if inventory is None and data is None and SERVERS.is_file():
        inventory = SERVERS
    if inventory is not None:
        from ocmt_cli.deploy.server_status import show_servers  # noqa: PLC0415 (only with servers)

        if not show_servers(inventory, as_json=as_json):
            raise typer.Exit(1)
        return
    folder = DataFolder((data or DEFAULT_DATA).resolve())
    found = collect(folder)
    if as_json:
        say_json(found)
    else:
        _show(found)


def collect(data: DataFolder) -> dict[str, Any]:
    """The status as JSON values; `running` is false if the data folder is not in use."""
    record = read_record(data.root)
    if record is None or not record.is_alive():
        return {
            "running": False,
            "data": str(data.root),
            "leftovers": count_orphans(data.root),
            "servers": {},
            "agents": [],
        }
    return {
        "running": True,
        "phase": record.phase,
        "address": data.setting(data.management_env, "BASE_URL") or record.address,
        "data": str(data.root),
        "runtime": record.runtime,
        "supervisor": {"pid": record.pid},
        "servers": _servers(record),
        "agents": _agents(data, record),
    }


def _servers(record: Record) -> dict[str, dict[str, Any]]:
    ports = {"management": record.port, "agent": agent_port(record.port)}
    shown = {}
    for name, server in record.servers.items():
        answer = get(f"http://127.0.0.1:{ports[name]}/health")
        shown[name] = {
            "healthy": answer.status == 200 and answer.body.get("status") == "ok",
            "pid": server.pid,
            "since": server.since,
            "restarts": server.restarts,
            "health": answer.body,
        }
    return shown


def _agents(data: DataFolder, record: Record) -> list[dict[str, Any]]:
    answer = get(
        f"http://127.0.0.1:{agent_port(record.port)}/api/containers",
        {"x-auth-token": data.auth_token},
    )
    if answer.status != 200:
        return []
    memory = memory_by_home(data.root) if record.runtime == "process" else {}
    return with_memory(answer.body, memory)


def with_memory(agents: list[dict[str, Any]], memory: dict[str, int]) -> list[dict[str, Any]]:
    """The agents with `memoryBytes` from `memory_by_home`; an older server does not say `home`."""
    return [
        {**agent, "memoryBytes": memory.get(agent.get("home") or agent["userId"])}
        for agent in agents
    ]


def memory_by_home(data: Path) -> dict[str, int]:
    """Agent's folder → resident bytes of the gateway and its descendants (process runtime only).

    The folder has the user's id, or the agent's home if it was made beforehand.
    """
    found: dict[str, int] = {}
    for process in processes.find(lambda env: is_gateway(env, data)):
        # The process may have ended, since gateways start short programs all the time.
        if state := processes.environment(process.pid).get("OPENCLAW_STATE_DIR"):
            home = Path(state).parent.name
            found[home] = found.get(home, 0) + (processes.resident_bytes(process.pid) or 0)
        process.close()
    return found


def _show(found: dict[str, Any]) -> None:
    if not found["running"]:
        folder = Path(found["data"])
        start, end = command("up", data=folder), command("down", data=folder)
        if left := found["leftovers"]:
            say(f"The run in {folder} was killed, and {left} of its processes are still running.")
            say(f"Start it again: {start}")
            say(f"Or stop them: {end}")
        else:
            say(f"Nothing is running in {folder}. Start it: {start}")
        return
    say(f"{found['address']}  ({found['phase']}, {found['runtime']} runtime, {found['data']})")
    for name, server in found["servers"].items():
        healthy = "healthy" if server["healthy"] else "NOT HEALTHY"
        again = f", {server['restarts']} restarts" if server["restarts"] else ""
        say(f"  {name:<11} {healthy}, pid {server['pid']}, since {server['since']}{again}")
        for line in (*_complaints(server["health"]), *host_memory(server["health"])):
            say(f"              {line}")
    agents = found["agents"]
    say(f"  {len(agents)} agent{'' if len(agents) == 1 else 's'}")
    for agent in agents:
        where = f" ({agent['pausedMemory']})" if agent.get("pausedMemory") else ""
        say(
            f"    {agent['userId']}  {agent['hibernationState']}{where}, "
            f"idle {agent['idleMinutes']} min{agent_memory(agent)}{agent_disk(agent)}"
        )
        for line in _story(agent):
            say(f"      {line}")


def agent_memory(agent: dict[str, Any]) -> str:
    """An agent's memory as the agent server measured it, or its processes' resident memory.

    Empty if neither is known.
    """
    memory = agent.get("memory")
    if memory is None:
        return f", {agent['memoryBytes'] / 1e6:.0f} MB" if agent["memoryBytes"] else ""
    swapped = ""
    if memory["swap"]:
        squeezed = memory["compressed"]
        inside = f", {squeezed / 1e6:.0f} MB of RAM compressed" if squeezed else ""
        swapped = f", {memory['swap'] / 1e6:.0f} MB in swap{inside}"
    return f", {memory['usage'] / 1e6:.0f} MB of RAM{swapped}"


def agent_disk(agent: dict[str, Any]) -> str:
    """An agent's disk use and limit; empty if the server is of an earlier release."""
    disk = agent.get("disk")
    if disk is None:
        return ""
    most = f"{disk['limitBytes'] / 1e9:.1f} GB"
    if disk["bytes"] is None:
        return f", more than {disk['limitFiles']:,} files"
    return f", {disk['bytes'] / 1e9:.1f} of {most} on disk"


def host_memory(health: dict[str, Any]) -> Iterable[str]:
    """The host's memory and how it is saved; empty if the server is of an earlier release."""
    memory = health.get("memory")
    if memory is None:
        return
    host = memory["host"]
    swap, free = (host["swapDisk"] + host["swapZram"], host["swapDiskFree"] + host["swapZramFree"])
    named = {"swapDisk": "swap on disk", "zram": "zram", "zswap": "zswap", "prefetch": "prefetch"}
    means = [text for name, text in named.items() if memory[name]]
    means = [f"reclaim by {memory['reclaim']}", *means] if memory["reclaim"] else means
    yield (
        f"memory: {host['available'] / 1e9:.1f} of {host['total'] / 1e9:.1f} GB available, "
        f"{(swap - free) / 1e9:.1f} of {swap / 1e9:.1f} GB of swap used; "
        f"{', '.join(means) or 'no swap or compression'}"
    )
    yield from _sleepers_stay(memory, free)
    yield from memory["advice"]


def _sleepers_stay(memory: dict[str, Any], swap_free: int) -> Iterable[str]:
    """How long sleeping agents stay before they are stopped; empty for an earlier release."""
    after_ms, reserve = memory.get("stopAfterMs"), memory.get("swapReserve")
    if after_ms is not None:
        yield f"sleeping agents are stopped after {after_ms / 60_000:.0f} min"
    elif reserve is not None:
        short = "; it is short now" if swap_free < reserve else ""
        yield (
            f"sleeping agents stay while {reserve / 1e9:.1f} GB of swap are free, and then those "
            f"idle for longest are stopped{short}"
        )


def _story(agent: dict[str, Any]) -> Iterable[str]:
    """The reason for an agent's state and its next wake, if the server sends them."""
    if agent.get("because"):
        yield agent["because"]
    if agent.get("nextWakeAt"):
        yield f"Wakes by itself at {agent['nextWakeAt']}."


def _complaints(health: dict[str, Any]) -> Iterable[str]:
    yield from health.get("problems", [])
    for check in health.get("checks", {}).values():
        if not check.get("ok", True):
            yield str(check.get("detail"))
