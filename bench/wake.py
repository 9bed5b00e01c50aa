"""How long a wake takes, by the state woken from, with real OpenClaw containers.

Measures the time from the client's send to the first application byte (`GET /healthz` through the
proxy), and to the first token of a streamed reply of a model that answers at once. For comparison,
in the same run and with the same container: Docker's API alone, from unpause to `/healthz` and from
start to `/readyz`; and an always-on gateway. After a minute without work, a gateway ends its worker
threads and restarts them for the next message; `--quiet` measures replies after such a minute
awake, awake and then asleep, and asleep. Compared figures are measured alternately, since a
machine's speed varies. `--spares` measures a new user's first word, and a stopped agent's, with and
without a spare that is ready. Run: `python bench/wake.py --json`.
"""

import argparse
import asyncio
import json
import time
from typing import Any

import aiohttp
from shared.agents import (
    Agents,
    answers,
    first_token,
    machine,
    meminfo,
    server,
    summary,
    until,
)
from shared.swap import some_swap

USER = "bench-wake"
_REST_S = 1.0
"""Idle time before each pause; agents that fall asleep by themselves idle half an hour."""
_QUIET_S = 75.0
"""Idle time after which OpenClaw 2026.9.6 has ended the worker threads for messages."""


async def bench(
    *, port: int, rounds: int, boots: int, quiet: int, spares: int, swap: str
) -> dict[str, Any]:
    figures: dict[str, list[float]] = {}
    async with server(port) as agents:
        await agents.provision(USER)
        for _ in range(3):
            await agents.chat(USER)
        await _just_paused(agents, figures, rounds)
        where = await _settled(agents, figures, rounds)
        await _stopped(agents, figures, boots)
        await _quiet(agents, figures, quiet)
        tiers = (await agents.health()).get("memory")
    if spares > 0:
        async with server(port, SPARE_AGENTS="1") as agents:
            await _spares(agents, figures, spares)
    return {
        "machine": machine(),
        "swap": swap,
        "swapBytes": meminfo()["SwapTotal"],
        "settledMemory": where,
        "tiers": tiers,
        "milliseconds": {name: summary(values) for name, values in figures.items()},
        "series": {name: [round(s * 1000, 1) for s in each] for name, each in figures.items()},
    }


def _note(figures: dict[str, list[float]], name: str, seconds: float) -> None:
    figures.setdefault(name, []).append(seconds)


async def _just_paused(agents: Agents, figures: dict[str, list[float]], rounds: int) -> None:
    """Measure wakes 0.2 s after a pause, when a reclaim has at most begun and is cancelled."""
    for _ in range(rounds):
        await _paused(agents)
        _note(figures, "just paused: first byte", await agents.first_byte(USER))
    for _ in range(rounds):
        await _paused(agents)
        _note(figures, "just paused: first token", await agents.chat(USER))


async def _paused(agents: Agents) -> None:
    await asyncio.sleep(_REST_S)
    await agents.sleep(USER, "pause")
    await asyncio.sleep(0.2)


async def _settled(agents: Agents, figures: dict[str, list[float]], rounds: int) -> str:
    """Measure wakes after the reclaim, alternating with the comparison.

    Returns where the memory was before the last wake: `reclaimed` or `resident`.
    """
    where = "resident"
    container = await agents.docker_id(USER)
    for _ in range(rounds):
        await _paused(agents)
        where = await agents.settled(USER)
        _note(figures, f"paused, {where}: first byte", await agents.first_byte(USER))
        await agents.chat(USER)
        await _paused(agents)
        where = await agents.settled(USER)
        _note(figures, f"paused, {where}: first token", await agents.chat(USER))
        await asyncio.sleep(_REST_S)
        _note(figures, "always on: first byte", await agents.first_byte(USER))
        _note(figures, "always on: first token", await agents.chat(USER))
        await asyncio.sleep(_REST_S)
        _note(figures, "Docker unpause to /healthz", await _plain_unpause(agents, container))
    return where


async def _stopped(agents: Agents, figures: dict[str, list[float]], boots: int) -> None:
    container = await agents.docker_id(USER)
    for _ in range(boots):
        await agents.sleep(USER, "stop")
        _note(figures, "stopped: first byte", await agents.first_byte(USER))
        _note(figures, "stopped: first token after that", await agents.chat(USER))
        await asyncio.sleep(_REST_S)
        _note(figures, "Docker start to /readyz", await _plain_start(agents, container))
        await agents.chat(USER)


async def _quiet(agents: Agents, figures: dict[str, list[float]], rounds: int) -> None:
    for _ in range(rounds):
        await asyncio.sleep(_QUIET_S)
        _note(figures, "always on, after a quiet minute: first token", await agents.chat(USER))
        await asyncio.sleep(_QUIET_S)
        await agents.sleep(USER, "pause")
        where = await agents.settled(USER)
        name = f"paused after a quiet minute, {where}: first token"
        _note(figures, name, await agents.chat(USER))
        await _paused(agents)
        where = await agents.settled(USER)
        await asyncio.sleep(_QUIET_S)
        _note(figures, f"paused for a minute, {where}: first token", await agents.chat(USER))


async def _spares(agents: Agents, figures: dict[str, list[float]], rounds: int) -> None:
    """Measure new users and stopped agents: with a spare, without one, and by Docker alone."""
    await agents.provision(USER)
    await agents.chat(USER)
    for number in range(rounds):
        for ready in (True, False):  # the first takes the spare that there is
            user = f"{USER}-new-{number}-{'spare' if ready else 'boot'}"
            if ready:
                await agents.spare_ready(held=False)
            started = time.perf_counter()
            await agents.provision(user)
            await agents.chat(user)
            name = "new user, an agent ready" if ready else "new user, none ready"
            _note(figures, f"{name}: first token", time.perf_counter() - started)
            await agents.remove(user)
        for what, measure in (("first byte", agents.first_byte), ("first token", agents.chat)):
            await agents.sleep(USER, "stop")
            await agents.spare_ready(held=True)
            _note(figures, f"stopped, a spare ready: {what}", await measure(USER))
            await agents.chat(USER)
            await agents.sleep(USER, "stop")
            _note(figures, f"stopped, none ready: {what}", await measure(USER))
            await agents.chat(USER)
            container = await agents.docker_id(USER)
            byte, token = await _plain_start_and_chat(agents, container)
            seconds = byte if what == "first byte" else token
            _note(figures, f"Docker start: {what}", seconds)


async def _plain_start_and_chat(agents: Agents, container: str) -> tuple[float, float]:
    """Seconds from `docker start` of a stopped container to its first byte, and its first token.

    The agent server runs meanwhile, since the model is reached through its relay.
    """
    docker = agents.docker
    token = await docker.gateway_token(container)
    async with aiohttp.ClientSession() as session:
        await docker.act(container, "stop?t=20")
        started = time.perf_counter()
        await docker.act(container, "start")
        base = await docker.address(container)
        await until(lambda: answers(session, f"{base}/healthz"))
        byte = time.perf_counter() - started
        await until(lambda: answers(session, f"{base}/readyz"))
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{base}/v1/chat/completions"
        return byte, await first_token(session, url, started, headers)


async def _plain_unpause(agents: Agents, container: str) -> float:
    """Seconds from unpausing the container through Docker's API until its gateway answers.

    The agent server is suspended meanwhile.
    """
    docker = agents.docker
    async with agents.held(), aiohttp.ClientSession() as session:
        base = await docker.address(container)
        await docker.act(container, "pause")
        await asyncio.sleep(0.2)
        started = time.perf_counter()
        await docker.act(container, "unpause")
        await until(lambda: answers(session, f"{base}/healthz"))
        return time.perf_counter() - started


async def _plain_start(agents: Agents, container: str) -> float:
    """Seconds from starting the stopped container through Docker's API until its gateway is ready.

    The agent server is suspended meanwhile.
    """
    docker = agents.docker
    async with agents.held(), aiohttp.ClientSession() as session:
        await docker.act(container, "stop?t=20")
        started = time.perf_counter()
        await docker.act(container, "start")
        base = await docker.address(container)
        await until(lambda: answers(session, f"{base}/readyz"))
        return time.perf_counter() - started


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['machine']}; swap: {result['swap']}; a settled pause is "
        f"{result['settledMemory']}",
        "",
        "| from | n | p50 ms | p95 ms | max ms |",
        "|---|---|---|---|---|",
    ]
    for name, f in result["milliseconds"].items():
        lines.append(f"| {name} | {f['n']} | {f['p50']} | {f['p95']} | {f['max']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="number of pauses of each kind")
    parser.add_argument("--boots", type=int, default=3, help="number of stops and starts")
    parser.add_argument(
        "--quiet",
        type=int,
        default=0,
        help="number of rounds after a minute without work, awake and asleep",
    )
    parser.add_argument(
        "--spares", type=int, default=2, help="number of rounds with spares; each takes minutes"
    )
    parser.add_argument("--port", type=int, default=26200, help="the first of three ports")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with some_swap() as swap:
        result = asyncio.run(
            bench(
                port=asked.port,
                rounds=asked.rounds,
                boots=asked.boots,
                quiet=asked.quiet,
                spares=asked.spares if meminfo()["SwapTotal"] > 0 else 0,
                swap=swap,
            )
        )
    print(json.dumps(result, indent=2) if asked.json else table(result))


if __name__ == "__main__":
    main()
