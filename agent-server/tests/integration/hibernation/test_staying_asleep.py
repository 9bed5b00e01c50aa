"""Sleepers stay while swap has room: they are stopped by need, or after a time that was set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.memory_admission import MIB, HostFigures
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_common.agent_api import Actor, AgentPolicy
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.host import Host, open_host

GIB = 1024 * MIB
USERS = ("ada", "ben", "eve")
IN_SWAP = AgentMemory(usage=20 * MIB, anon=10 * MIB, cache=0, swap=GIB, compressed=0)
IN_RAM = AgentMemory(usage=GIB, anon=GIB, cache=0, swap=0, compressed=0)


def figures(*, swap_free: int, on_disk: bool = True) -> HostFigures:
    swap = 8 * GIB
    return HostFigures(16 * GIB, 8 * GIB, swap, swap_free, None, swap if on_disk else 0)


ROOMY = figures(swap_free=6 * GIB)


@asynccontextmanager
async def sleepers(
    tmp_path: Path, memory: AgentMemory, *, stop_after_ms: str = ""
) -> AsyncIterator[Host]:
    """Three agents; ada was used first, eve last. All sleep with `memory`."""
    async with open_host(tmp_path, figures=ROOMY, STOP_AFTER_MS=stop_after_ms) as host:
        for user in USERS:
            await host.provision(user)
            host.clock.advance(minutes=5)
        for user in USERS:
            await host.orders.hibernate(user, "pause")
            host.parts.registry.get(user).memory = memory
        yield host


def states(host: Host) -> list[S]:
    return [host.state(user) for user in USERS]


async def test_sleepers_in_swap_stay_for_days_while_there_is_room(tmp_path: Path) -> None:
    async with sleepers(tmp_path, IN_SWAP) as host:
        host.clock.advance(days=30)
        await host.sweep()
        assert states(host) == [S.PAUSED] * 3


@pytest.mark.parametrize(
    ("memory", "room"),
    [(IN_RAM, ROOMY), (IN_SWAP, figures(swap_free=GIB * 6, on_disk=False)), (IN_SWAP, None)],
    ids=["in RAM", "zram only", "no figures"],
)
async def test_without_swap_on_disk_for_them_they_are_stopped_after_four_hours(
    tmp_path: Path, memory: AgentMemory, room: HostFigures | None
) -> None:
    async with sleepers(tmp_path, memory) as host:
        host.room.figures = room
        host.clock.advance(minutes=239)
        await host.sweep()
        assert states(host) == [S.PAUSED] * 3
        host.clock.advance(minutes=1)
        await host.sweep()
        assert states(host) == [S.STOPPED] * 3
        assert host.parts.registry.get("ada").state_why == "paused for long"


async def test_when_swap_gets_short_the_longest_idle_is_stopped_and_says_why(
    tmp_path: Path,
) -> None:
    async with sleepers(tmp_path, IN_SWAP) as host:
        host.room.figures = figures(swap_free=2 * GIB - 1)
        await host.sweep()
        assert states(host) == [S.STOPPED, S.PAUSED, S.PAUSED]
        ada = host.parts.registry.get("ada")
        assert (ada.state_who, ada.state_why) == (
            Actor.PRESSURE,
            "swap is short, and it was idle for longest",
        )
        host.room.figures = figures(swap_free=2 * GIB)
        await host.sweep()
        assert states(host) == [S.STOPPED, S.PAUSED, S.PAUSED]
        host.room.figures = figures(swap_free=0)
        await host.sweep()
        assert states(host) == [S.STOPPED] * 3


@pytest.mark.parametrize("memory", [IN_SWAP, IN_RAM])
async def test_a_time_that_was_set_means_what_it_says(tmp_path: Path, memory: AgentMemory) -> None:
    async with sleepers(tmp_path, memory, stop_after_ms="7200000") as host:
        host.room.figures = figures(swap_free=0)
        host.clock.advance(minutes=119)
        await host.sweep()
        assert states(host) == [S.PAUSED] * 3  # swap is short, but an operator has set the time
        host.room.figures = ROOMY
        host.clock.advance(minutes=1)
        await host.sweep()
        assert states(host) == [S.STOPPED] * 3


async def test_a_user_s_own_time_means_what_it_says(tmp_path: Path) -> None:
    async with sleepers(tmp_path, IN_SWAP) as host:
        ben = host.parts.registry.get("ben")
        await host.parts.registry.set_policy(ben, AgentPolicy(stop_after_ms=3_600_000))
        host.clock.advance(minutes=60)
        await host.sweep()
        assert states(host) == [S.PAUSED, S.STOPPED, S.PAUSED]


async def test_after_a_restart_sleepers_are_not_stopped_before_they_are_measured(
    tmp_path: Path,
) -> None:
    async with sleepers(tmp_path, IN_SWAP) as host:
        host.clock.advance(days=2)
        runtime, gateway, clock = host.runtime, host.gateway, host.clock
    async with open_host(
        tmp_path, runtime=runtime, gateway=gateway, clock=clock, figures=ROOMY
    ) as host:
        await host.sweep()
        assert states(host) == [S.PAUSED] * 3


async def test_a_stop_for_swap_that_fails_or_is_overtaken_leaves_a_sleeper_that_wakes(
    tmp_path: Path,
) -> None:
    async with sleepers(tmp_path, IN_SWAP) as host:
        host.room.figures = figures(swap_free=2 * GIB - 1)
        host.runtime.faults["stop"] = [RuntimeFailed("It cannot.")]
        await host.sweep()
        assert states(host) == [S.PAUSED] * 3
        host.parts.registry.get("ada").in_flight = 1  # a request is about to wake it
        host.parts.registry.get("ada").memory = IN_SWAP
        await host.sweep()
        assert states(host) == [S.PAUSED, S.STOPPED, S.PAUSED]
        host.parts.registry.get("ada").in_flight = 0
        host.room.figures = ROOMY
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert host.state() is S.RUNNING
