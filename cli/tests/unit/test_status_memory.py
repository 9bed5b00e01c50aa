from ocmt_cli.status import agent_disk, agent_memory, host_memory, with_memory

HOST = {
    "total": 8e9,
    "available": 2e9,
    "swapDisk": 32e9,
    "swapDiskFree": 30e9,
    "swapZram": 0,
    "swapZramFree": 0,
}
MEMORY = {
    "reclaim": "memory.reclaim",
    "swapDisk": True,
    "zram": False,
    "zswap": False,
    "prefetch": True,
    "host": HOST,
    "advice": ["Make some."],
}


def test_an_agents_memory_is_what_the_server_measured() -> None:
    memory = {"usage": 40e6, "swap": 719e6, "compressed": 0}
    assert agent_memory({"memory": memory}) == ", 40 MB of RAM, 719 MB in swap"
    memory["compressed"] = 280e6
    assert agent_memory({"memory": memory}).endswith("in swap, 280 MB of RAM compressed")
    memory["swap"] = 0
    assert agent_memory({"memory": memory}) == ", 40 MB of RAM"


def test_processes_are_found_by_the_agents_home() -> None:
    memory = {"ada": 1, "agent.0123456789abcdef": 2, "old": 3, "agent.ffffffffffffffff": 4}
    agents: list[dict[str, object]] = [
        {"userId": "ada", "home": "ada"},
        {"userId": "bea", "home": "agent.0123456789abcdef"},
        {"userId": "old"},  # of a server that does not say it
        {"userId": "asleep", "home": "asleep"},
    ]
    assert [agent["memoryBytes"] for agent in with_memory(agents, memory)] == [1, 2, 3, None]


def test_figures_that_were_not_measured_are_not_shown() -> None:
    assert agent_memory({"memory": None, "memoryBytes": None}) == ""
    assert agent_memory({"memoryBytes": 900e6}) == ", 900 MB"
    assert list(host_memory({"status": "ok"})) == []


def test_the_hosts_memory_and_its_swap_are_shown_with_the_advice() -> None:
    assert list(host_memory({"memory": MEMORY})) == [
        "memory: 2.0 of 8.0 GB available, 2.0 of 32.0 GB of swap used; "
        "reclaim by memory.reclaim, swap on disk, prefetch",
        "Make some.",
    ]
    bare = MEMORY | {"reclaim": None, "swapDisk": False, "prefetch": False}
    assert "no swap or compression" in next(iter(host_memory({"memory": bare})))


def test_how_long_sleepers_stay_is_shown() -> None:
    by_need = MEMORY | {"stopAfterMs": None, "swapReserve": 3_200_000_000}
    assert list(host_memory({"memory": by_need}))[1] == (
        "sleeping agents stay while 3.2 GB of swap are free, and then those idle for longest are "
        "stopped"
    )
    short = by_need | {"host": HOST | {"swapDiskFree": 3e9}}
    assert list(host_memory({"memory": short}))[1].endswith("stopped; it is short now")
    by_time = MEMORY | {"stopAfterMs": 14_400_000, "swapReserve": None}
    assert list(host_memory({"memory": by_time}))[1] == (
        "sleeping agents are stopped after 240 min"
    )


def test_an_agent_s_disk_usage_is_shown_where_it_is_known() -> None:
    disk = {
        "bytes": 2_400_000_000,
        "files": 12,
        "limitBytes": 10_737_418_240,
        "limitFiles": 655_360,
    }
    assert agent_disk({"disk": disk}) == ", 2.4 of 10.7 GB on disk"
    uncounted = disk | {"bytes": None, "files": None}
    assert agent_disk({"disk": uncounted}) == ", more than 655,360 files"
    assert agent_disk({"disk": None}) == ""
    assert agent_disk({}) == ""
