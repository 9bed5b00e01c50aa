"""What the agent server's control loop and API cost with thousands of agents and a fake runtime.

Measures CPU seconds and engine calls of a sweep without changes, `GET /api/containers`, and the
reconcile after a restart with one container in a hundred gone. Run: `python bench/control.py`.
"""

import argparse
import asyncio
import json
import logging
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from ocmt_agent.app import create_app
from ocmt_agent.clock import SystemClock
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.store import AgentStore
from ocmt_agent.runtime.base import ContainerStatus, Endpoint, Observed, RuntimeEvent
from ocmt_agent.settings import AgentSettings
from ocmt_agent.wiring import open_parts
from ocmt_common.agent_api import AUTH_HEADER, HibernationState
from ocmt_common.logs import configure_logging
from ocmt_common.settings import load

TOKEN = "bench-token-0123456789-abcdefghij"
_SHOWN_AS = {
    HibernationState.RUNNING: ContainerStatus.RUNNING,
    HibernationState.PAUSED: ContainerStatus.PAUSED,
    HibernationState.STOPPED: ContainerStatus.EXITED,
}
# A host during the day: a tenth of the agents awake, most paused, the rest stopped.
_MIX = (HibernationState.RUNNING, *[HibernationState.PAUSED] * 7, *[HibernationState.STOPPED] * 2)


class StillRuntime:
    """A runtime without effects that counts its calls, except `events`."""

    name = "still"

    def __init__(self, shown: dict[str, Observed]) -> None:
        self.shown = shown
        self.calls: Counter[str] = Counter()

    def home(self, user_id: str) -> Path:
        return Path("/", user_id)

    async def observe_all(self) -> dict[str, Observed]:
        self.calls["observe_all"] += 1
        return self.shown

    async def inspect(self, user_id: str) -> Observed | None:
        self.calls["inspect"] += 1
        return self.shown.get(user_id)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        await asyncio.Event().wait()
        yield RuntimeEvent("", "")

    def __getattr__(self, name: str) -> Any:
        async def nothing(*_: object, **__: object) -> None:
            self.calls[name] += 1

        return nothing


def agents(count: int) -> list[Agent]:
    now = SystemClock().now()
    made = []
    for number in range(count):
        agent = Agent.new(f"user-{number}", agent_token=f"agent-token-{number:08}", now=now)
        agent.state = _MIX[number % len(_MIX)]
        agent.asleep_since = None if agent.state is HibernationState.RUNNING else now
        if number % 5 == 0:
            agent.next_job_at = now + timedelta(hours=1 + number % 20)
        made.append(agent)
    return made


def shown(known: list[Agent]) -> dict[str, Observed]:
    endpoint = Endpoint("127.0.0.1", 9)
    return {
        agent.user_id: Observed(
            agent.user_id,
            _SHOWN_AS[agent.state],
            None if agent.state is HibernationState.STOPPED else endpoint,
        )
        for agent in known
    }


async def bench(count: int, *, rounds: int) -> dict[str, Any]:
    known = agents(count)
    runtime = StillRuntime(shown(known))
    for agent in known[::100]:  # killed while the server was down
        del runtime.shown[agent.user_id]
    with tempfile.TemporaryDirectory(prefix="ocmt-bench-") as folder:
        store = await AgentStore.open(Path(folder) / "agent.db")
        await store.save_all(known)
        await store.close()
        environ = {"AUTH_TOKEN": TOKEN, "DATA_DIR": folder}
        settings = load(AgentSettings, environ=environ)
        started, cpu = time.perf_counter(), time.process_time()
        async with open_parts(settings, runtime=runtime, clock=SystemClock()) as parts:
            await parts.hibernation.loop.sweep()
            restart = {
                "s": round(time.perf_counter() - started, 3),
                "cpuS": round(time.process_time() - cpu, 3),
                "corrected": sum(bool(agent.failure) for agent in parts.registry.all()),
            }
            runtime.calls.clear()
            sweeps = []
            for _ in range(rounds):
                cpu = time.process_time()
                await parts.hibernation.loop.sweep()
                sweeps.append(time.process_time() - cpu)
            calls = {name: asked / rounds for name, asked in runtime.calls.items()}
            lists, size = await _lists(create_app(parts), rounds)
    return {
        "agents": count,
        "sweepCpuMs": round(statistics.median(sweeps) * 1000, 1),
        "engineCallsASweep": calls,
        "listMs": round(statistics.median(lists) * 1000, 1),
        "listMaxMs": round(max(lists) * 1000, 1),
        "listBytes": size,
        "restart": restart,
    }


async def _lists(app: Any, rounds: int) -> tuple[list[float], int]:
    """Call `GET /api/containers` through the whole server, without a socket.

    Returns the seconds of each call, and the answer's size in bytes.
    """
    taken, size = [], 0
    transport = httpx2.ASGITransport(app=app)
    headers = {AUTH_HEADER: TOKEN}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://agent", headers=headers
    ) as client:
        for _ in range(rounds):
            started = time.perf_counter()
            answer = await client.get("/api/containers")
            taken.append(time.perf_counter() - started)
            assert answer.status_code == 200, answer.text
            size = len(answer.content)
    return taken, size


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| agents | sweep, CPU ms | engine calls a sweep | list ms | restart s (CPU) |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        calls = sum(r["engineCallsASweep"].values())
        lines.append(
            f"| {r['agents']} | {r['sweepCpuMs']} | {calls:g} | {r['listMs']} "
            f"| {r['restart']['s']} ({r['restart']['cpuS']}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    configure_logging(level=logging.CRITICAL)
    results = [asyncio.run(bench(count, rounds=asked.rounds)) for count in asked.agents]
    print(json.dumps(results, indent=2) if asked.json else table(results))


if __name__ == "__main__":
    main()
