"""When moving memory is worth it, decided from figures alone."""

from dataclasses import replace

import pytest
from ocmt_agent.memory.host import (
    HostMemory,
    Pressure,
    SwapArea,
    SwapKind,
    Zram,
    Zswap,
)
from ocmt_agent.memory.reclaim_decisions import (
    Awake,
    more_to_take,
    mostly_in_swap,
    paused_memory,
    prefetch_most,
    pressed,
    read_blindly_most,
    reads_are_slow,
    reclaim_again_after_s,
    worth_reclaiming,
    worth_taking,
    worth_trimming,
)
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_common.agent_api import PausedMemory

MB = 1 << 20
GB = 1 << 30
CALM = Pressure(0.0, 0.0, 0.0, 0.0)
HOST = HostMemory(
    total=8 * GB,
    available=4 * GB,
    swaps=(SwapArea("/swap", SwapKind.DISK, 8 * GB, 1 * GB),),
    zram=Zram(0, 0),
    zswap=Zswap(enabled=False, stored=0, ram=0),
    pressure=CALM,
)
PRESSED = replace(HOST, pressure=Pressure(20.0, 5.0, 1.0, 0.0))


def agent(*, anon: int, swap: int = 0) -> AgentMemory:
    return AgentMemory(usage=anon, anon=anon, cache=0, swap=swap, compressed=0)


@pytest.mark.parametrize(
    ("anon", "swap", "expected"),
    [
        (900 * MB, 0, PausedMemory.RESIDENT),
        (2 * MB, 900 * MB, PausedMemory.RECLAIMED),
        (60 * MB, 100 * MB, PausedMemory.RECLAIMED),
        (500 * MB, 400 * MB, PausedMemory.RESIDENT),  # cut short by a wake, or by a full swap
        (10 * MB, 0, PausedMemory.RESIDENT),  # small, but nothing of it was moved
        # What is left would be worth another round, however much was moved.
        (117 * MB, 800 * MB, PausedMemory.RESIDENT),
        (250 * MB, 900 * MB, PausedMemory.RESIDENT),
        (97 * MB, 4000 * MB, PausedMemory.RESIDENT),
    ],
)
def test_where_a_paused_agent_s_memory_is(anon: int, swap: int, expected: PausedMemory) -> None:
    assert paused_memory(agent(anon=anon, swap=swap)) is expected


def test_memory_is_reclaimed_only_if_there_is_swap_for_it() -> None:
    awake = agent(anon=900 * MB)
    assert worth_reclaiming(awake, HOST)
    assert not worth_reclaiming(awake, replace(HOST, swaps=()))
    full = (SwapArea("/swap", SwapKind.DISK, 8 * GB, 8 * GB),)
    assert not worth_reclaiming(awake, replace(HOST, swaps=full))
    assert not worth_reclaiming(agent(anon=2 * MB, swap=900 * MB), HOST)
    assert not worth_reclaiming(agent(anon=0), HOST)


@pytest.mark.parametrize(("anon", "swap"), [(117, 800), (250, 900), (97, 4000), (500, 400)])
def test_what_is_left_in_ram_is_taken_whatever_is_in_swap_already(anon: int, swap: int) -> None:
    assert worth_reclaiming(agent(anon=anon * MB, swap=swap * MB), HOST)


def test_a_reclaim_that_left_something_is_tried_again_less_and_less_often() -> None:
    waits = [reclaim_again_after_s(tries) for tries in (1, 2, 3, 8, 10_000)]
    assert waits == [30.0, 60.0, 120.0, 3600.0, 3600.0]


def test_an_agent_sleeps_in_swap_when_a_stop_would_free_hardly_any_ram() -> None:
    assert mostly_in_swap(agent(anon=117 * MB, swap=800 * MB))
    assert not mostly_in_swap(agent(anon=500 * MB, swap=400 * MB))
    assert not mostly_in_swap(agent(anon=10 * MB))


def test_a_reclaim_goes_on_while_it_brings_something() -> None:
    awake, part = agent(anon=900 * MB), agent(anon=220 * MB, swap=680 * MB)
    assert more_to_take(awake, part)  # the disk was busy
    assert not more_to_take(part, part)
    assert not more_to_take(part, agent(anon=30 * MB, swap=870 * MB))


def test_a_prefetch_never_takes_more_than_a_share_of_what_is_free() -> None:
    assert prefetch_most(HOST) == 512 * MB
    assert prefetch_most(replace(HOST, available=400 * MB)) == 100 * MB


def test_all_of_an_unknown_agent_is_read_from_a_disk_and_nothing_from_zram() -> None:
    assert reads_are_slow(HOST)
    assert read_blindly_most(HOST) == 1 * GB
    zram = SwapArea("/dev/zram0", SwapKind.ZRAM, 8 * GB, 0)
    assert not reads_are_slow(replace(HOST, swaps=(*HOST.swaps, zram)))
    assert read_blindly_most(replace(HOST, swaps=(*HOST.swaps, zram))) == 0


def test_a_host_is_pressed_when_work_waits_or_little_is_left() -> None:
    assert not pressed(HOST)
    assert pressed(PRESSED)
    assert not pressed(replace(HOST, pressure=None))
    assert pressed(replace(HOST, pressure=None, available=GB // 2))


QUIET = Awake(quiet_s=120.0, known=True, since_trim_s=None)


def test_a_quiet_agent_is_trimmed_under_pressure() -> None:
    assert worth_trimming(QUIET, PRESSED)
    assert worth_trimming(replace(QUIET, since_trim_s=400.0), PRESSED)
    assert worth_taking(50 * MB, PRESSED)


def test_tiny_amounts_and_more_than_the_swap_can_hold_are_not_reclaimed() -> None:
    assert not worth_taking(10 * MB, PRESSED)
    assert not worth_taking(50 * MB, replace(PRESSED, swaps=()))


@pytest.mark.parametrize(
    ("awake", "host"),
    [
        (QUIET, HOST),
        (replace(QUIET, quiet_s=0.0), PRESSED),
        (replace(QUIET, known=False), PRESSED),  # its next answer would wait for everything
        (replace(QUIET, since_trim_s=60.0), PRESSED),
    ],
    ids=["calm", "busy", "unknown", "trimmed just now"],
)
def test_otherwise_it_is_left_alone(awake: Awake, host: HostMemory) -> None:
    assert not worth_trimming(awake, host)
