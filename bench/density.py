"""How much host memory a sleeping agent takes, compared with always-on OpenClaw containers.

Agents are provisioned, sent a message and put to sleep, one after the other. With all asleep, the
host's `MemAvailable`, swap and zram and the shims' memory are read. Then each agent is woken in
turn and sent messages, in four rounds; the first shows its working set. A few stay awake, become
idle and are trimmed under memory pressure. With swap, a spare of each kind is measured as it
sleeps. For comparison, upstream's `openclaw fleet` runs a few always-on cells. Writes the figures
for `ocmt capacity`. Run: `python bench/density.py --agents 20 --json`.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.agents import ROOT, Agents, machine, meminfo, server, summary, zram_bytes
from shared.fleet import Fleet, FleetRefused
from shared.pressure import only_available
from shared.swap import some_swap

AWAKE_BYTES = 1_100_000_000
ASLEEP_BYTES = 60_000_000
SWAP_BYTES = 1_100_000_000
_SETTLES_S = 15.0
_WRITTEN_S = 8.0
"""Seconds for the disk to settle after half a gigabyte of one agent was written to swap."""
_TRIMMED = 3
"""How many agents are measured under memory pressure."""
_QUIET_S = 90.0
_SHORT = 0.07
"""Share of the host's memory left available: below a tenth, the agent server trims agents."""
_TRIMMED_WITHIN_S = 45.0
_STOPPED = "bench-density-stopped"
_AGAIN = "woken again: first byte"


def lacking(count: int, *, cells: int, available: int, swap_free: int) -> str | None:
    """What this host lacks for `count` agents and `cells` cells, with the cure; `None` if nothing.

    `available` and `swap_free` are bytes.
    """
    if swap_free >= count * SWAP_BYTES:
        need = (1 + cells) * AWAKE_BYTES + count * ASLEEP_BYTES
        kind = "with the swap there is"
    else:
        need = (count + cells) * AWAKE_BYTES
        kind = f"with less than {count * SWAP_BYTES / 1e9:.0f} GB of free swap"
    if available >= need:
        return None
    return (
        f"{count} agents need {need / 1e9:.1f} GB of available memory {kind}; there are "
        f"{available / 1e9:.1f} GB of memory and {swap_free / 1e9:.1f} GB of swap. Make swap with "
        f"`ocmt memory enable --swap {count + count // 8 + 1}G`, or measure fewer with --agents."
    )


async def bench(*, port: int, count: int, cells: int) -> dict[str, Any]:
    async with server(port) as agents:
        before = await _quiet_host()
        users = [f"bench-density-{number}" for number in range(count)]
        awake, rss = await _make_all(agents, users)
        asleep = await _quiet_host()
        per_agent = (before["MemAvailable"] - asleep["MemAvailable"]) / count
        _tell(f"asleep: {_mb(per_agent)} MB of MemAvailable an agent")
        shims = [await asyncio.to_thread(_shim_bytes, await agents.docker_id(u)) for u in users]
        where = [(await agents.container(user)).get("pausedMemory") for user in users]
        wakes: dict[str, list[float]] = {}
        woken = await _wake_all(agents, users, wakes)
        _tell("woken four times")
        trimmed = await _trim(agents, users[:_TRIMMED])
        tiers = (await agents.health()).get("memory")
    spares = await _spares_asleep(port) if meminfo()["SwapTotal"] > 0 else {}
    always_on = await _always_on(port + 10, cells)
    swapped = (asleep["swapUsed"] - before["swapUsed"]) / count
    zram = (asleep["zram"] - before["zram"]) / count
    return {
        "measuredAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "agents": count,
        "reclaimed": sum(place == "reclaimed" for place in where),
        "tiers": tiers,
        "mb": {
            "awake (MemAvailable, median)": _mb(statistics.median(awake)),
            "awake (anonymous, median)": _mb(statistics.median(rss)),
            "asleep (MemAvailable)": _mb(per_agent),
            "asleep: of that zram": _mb(zram),
            "asleep: of that shim": _mb(statistics.mean(shims)),
            "asleep: in swap": _mb(swapped),
            "woken and answered (anonymous, median)": _mb(statistics.median(woken)),
            "quiet (anonymous, median)": _mb(statistics.median(trimmed["before"])),
            "quiet and trimmed (anonymous, median)": _mb(statistics.median(trimmed["after"])),
            **{name: _mb(size) for name, size in spares.items()},
        },
        "agentsPerGb": round(1e9 / per_agent, 1) if per_agent > 0 else None,
        "wakeMs": {name: summary(seconds) for name, seconds in wakes.items()},
        "quietMs": {
            "first token, not trimmed": summary(trimmed["untouched"]),
            "first token, trimmed": summary(trimmed["answered"]),
        },
        "alwaysOn": always_on,
        "figures": {
            "origin": f"measured on this host with {count} agents, {datetime.now(UTC):%Y-%m-%d}",
            "swap": "none" if swapped < 50e6 else "zram" if zram > swapped / 10 else "disk",
            "awake_mb": _mb(statistics.median(awake)),
            "woken_mb": _mb(statistics.median(trimmed["after"]) + statistics.mean(shims)),
            "asleep_mb": _mb(per_agent),
            "swap_mb": _mb(swapped),
            "wake_ms": summary(wakes[_AGAIN])["p50"],
        },
    }


async def _make_all(agents: Agents, users: list[str]) -> tuple[list[float], list[float]]:
    """Provision each user's agent, send it a message, and put it to sleep.

    Returns the bytes that each agent took awake, by the host's available memory and by its
    container's figures.
    """
    awake, rss = [], []
    for number, user in enumerate(users):
        before = meminfo()["MemAvailable"]
        await agents.provision(user)
        await agents.chat(user)
        await asyncio.sleep(2)
        awake.append(float(before - meminfo()["MemAvailable"]))
        rss.append(float(await agents.docker.rss(await agents.docker_id(user))))
        await _to_sleep(agents, user)
        _tell(f"{number + 1} of {len(users)} asleep")
    return awake, rss


async def _wake_all(agents: Agents, users: list[str], wakes: dict[str, list[float]]) -> list[float]:
    """Wake the agents one after the other, in four rounds, and record the seconds in `wakes`.

    Returns each agent's bytes of anonymous memory after its first answer in the first round.
    """
    woken = []
    for user in users:
        await asyncio.sleep(_WRITTEN_S)
        _note(wakes, "first wake: first byte", await agents.first_byte(user))
        _note(wakes, "first wake: first token after that", await agents.chat(user))
        woken.append(float(await agents.docker.rss(await agents.docker_id(user))))
        await _to_sleep(agents, user)
    for name, rest in ((_AGAIN, _WRITTEN_S), (f"{_AGAIN}, the disk busy", 0.0)):
        for user in users:
            await asyncio.sleep(rest)
            _note(wakes, name, await agents.first_byte(user))
            await agents.chat(user)
            await _to_sleep(agents, user)
    for user in users:
        await asyncio.sleep(_WRITTEN_S)
        _note(wakes, "woken by a message: first token", await agents.chat(user))
        await _to_sleep(agents, user)
    return woken


async def _to_sleep(agents: Agents, user: str) -> None:
    await agents.sleep(user, "pause")
    await agents.settled(user)


def _note(wakes: dict[str, list[float]], name: str, seconds: float) -> None:
    wakes.setdefault(name, []).append(seconds)


def _tell(progress: str) -> None:
    print(f"… {progress}", file=sys.stderr, flush=True)


async def _trim(agents: Agents, users: list[str]) -> dict[str, list[float]]:
    """Make the agent server trim idle agents, by memory pressure.

    Returns their bytes of anonymous memory before and after, and the seconds to a first token
    without (`untouched`) and after the trim (`answered`).
    """
    for user in users:
        await agents.chat(user)
    await asyncio.sleep(_QUIET_S)
    untouched = [await agents.chat(user) for user in users]
    await asyncio.sleep(_QUIET_S)
    before = await _held(agents, users)
    async with only_available(_SHORT):
        await asyncio.sleep(_TRIMMED_WITHIN_S)
        after = await _held(agents, users)
    answered = [await agents.chat(user) for user in users]
    return {"before": before, "after": after, "untouched": untouched, "answered": answered}


async def _held(agents: Agents, users: list[str]) -> list[float]:
    """Each agent's bytes of anonymous memory in RAM, by its container's figures."""
    return [float(await agents.docker.rss(await agents.docker_id(user))) for user in users]


async def _spares_asleep(port: int) -> dict[str, float]:
    """Bytes of RAM of a spare of each kind, with its shim; each takes minutes on a busy host."""
    async with server(port, SPARE_AGENTS="1") as agents:
        await agents.spare_ready(held=False)
        new = await agents.docker.spares()
        await agents.provision(_STOPPED)  # takes it
        await agents.sleep(_STOPPED, "stop")
        await agents.spare_ready(held=True)
        await agents.spare_ready(held=False)
        spares = await agents.docker.spares() - new
        sizes = [await _in_ram(agents, spare) for spare in spares]
    return {"a spare asleep (anonymous and shim, mean of both kinds)": statistics.mean(sizes)}


async def _in_ram(agents: Agents, container: str) -> float:
    shim = await asyncio.to_thread(_shim_bytes, container)
    return float(await agents.docker.rss(container) + shim)


async def _always_on(port: int, cells: int) -> dict[str, Any]:
    """The memory of upstream's always-on cells, or why they could not be created."""
    if cells == 0:
        return {"cells": 0}
    taken = []
    try:
        async with Fleet(port) as fleet:
            for number in range(cells):
                before = meminfo()["MemAvailable"]
                await fleet.create(f"bench{number}")
                await asyncio.sleep(5)
                taken.append(float(before - meminfo()["MemAvailable"]))
    except FleetRefused as refused:
        return {"cells": len(taken), "refused": str(refused)}
    return {"cells": cells, "how": "openclaw fleet create", "mb": _mb(statistics.median(taken))}


async def _quiet_host() -> dict[str, int]:
    """The host's memory in bytes: medians of ten readings, since other programs come and go."""
    await asyncio.sleep(_SETTLES_S)
    looks = []
    for _ in range(10):
        found = meminfo()
        found["swapUsed"] = found["SwapTotal"] - found["SwapFree"]
        found["zram"] = zram_bytes()
        looks.append(found)
        await asyncio.sleep(0.5)
    return {name: int(statistics.median(look[name] for look in looks)) for name in looks[0]}


def _shim_bytes(container: str) -> int:
    """Bytes of RAM of a container's shim, with its share of shared pages; 0 if it is not found."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text(encoding="utf-8")
            if container in words and "containerd-shim" in words:
                rollup = (process / "smaps_rollup").read_text(encoding="utf-8")
                return int(rollup.split("Pss:")[1].split()[0]) * 1024
        except (OSError, IndexError):
            continue
    return 0


def _mb(size: float) -> float:
    return round(size / 1e6, 1)


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['machine']}, {result['agents']} agents, {result['reclaimed']} of them reclaimed",
        "",
        "| an agent | MB |",
        "|---|---|",
    ]
    lines += [f"| {name} | {value} |" for name, value in result["mb"].items()]
    for times, what in (("wakeMs", "woken"), ("quietMs", "awake, after a quiet minute")):
        lines += ["", f"| {what} | p50 ms | p95 ms | max ms |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {f['p50']} | {f['p95']} | {f['max']} |"
            for name, f in result[times].items()
        ]
    return "\n".join([*lines, "", f"always on: {json.dumps(result['alwaysOn'])}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=20)
    parser.add_argument(
        "--cells", type=int, default=3, help="how many always-on cells to compare with"
    )
    parser.add_argument("--port", type=int, default=26300, help="the first of twenty ports")
    parser.add_argument(
        "--data", type=Path, default=ROOT / "data", help="the folder for the figures"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit(
            "The agent server reclaims and trims agents' memory only as root. Run this as root."
        )
    with some_swap():
        _measure(asked)


def _measure(asked: argparse.Namespace) -> None:
    now = meminfo()
    if short := lacking(
        asked.agents,
        cells=asked.cells,
        available=now["MemAvailable"],
        swap_free=now["SwapFree"],
    ):
        sys.exit(short)
    started = time.monotonic()
    result = asyncio.run(bench(port=asked.port, count=asked.agents, cells=asked.cells))
    result["tookS"] = round(time.monotonic() - started)
    kept = asked.data / "bench" / "density.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2) if asked.json else table(result))


if __name__ == "__main__":
    main()
