import asyncio
import signal
import sqlite3
import stat
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.records.store import _MIGRATIONS, EVENTS_KEPT, AgentStore, StoreError
from ocmt_common.agent_api import AgentPolicy, StateEvent
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import AGENT_TOKEN, open_host

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


async def test_an_agent_reads_back_as_it_was_written(tmp_path: Path) -> None:
    store = await AgentStore.open(tmp_path / "agent.db")
    agent = Agent.new("ada", agent_token=AGENT_TOKEN, now=NOW)
    agent.state, agent.failure = S.FAILED, "no image"
    agent.blockers, agent.suspension_id, agent.next_job_at = ["1 request"], "lease", NOW
    await store.save(agent)
    (read,) = await store.load()
    await store.close()
    for name in ("user_id", "gateway_token", "agent_token", "created_at", "last_activity_at",
                 "last_activity_kind", "state", "state_since", "next_job_at", "suspension_id",
                 "blockers", "failure"):  # fmt: skip
        assert getattr(read, name) == getattr(agent, name), name
    assert read.device.device_id == agent.device.device_id
    assert read.access is None
    assert AGENT_TOKEN not in repr(read)
    assert str(read.gateway_token) not in repr(read)


async def test_only_the_servers_own_user_may_read_the_database(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.touch(mode=0o644)
    store = await AgentStore.open(path)
    await store.save(Agent.new("ada", agent_token=AGENT_TOKEN, now=NOW))
    modes = modes_in(tmp_path)
    await store.close()
    assert set(modes.values()) == {0o600}
    assert "agent.db-wal" in modes


def modes_in(folder: Path) -> dict[str, int]:
    return {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}


async def test_a_users_events_are_bounded_and_kept_in_order(tmp_path: Path) -> None:
    store = await AgentStore.open(tmp_path / "agent.db")
    ada, ben = (Agent.new(u, agent_token=AGENT_TOKEN, now=NOW) for u in ("ada", "ben"))
    event = StateEvent(user_id="ben", at=NOW, from_state=None, to_state=S.RUNNING, why="first")
    await store.save(ben, event=event)
    for number in range(EVENTS_KEPT + 20):
        event = StateEvent(
            user_id="ada", at=NOW, from_state=None, to_state=S.RUNNING, why=str(number)
        )
        await store.save(ada, event=event)
    kept = await store.events("ada", limit=1000)
    assert [e.why for e in kept] == [str(n) for n in range(20, EVENTS_KEPT + 20)]
    assert [e.why for e in await store.events("ada", limit=2)] == ["218", "219"]
    assert len(await store.events("ben", limit=1000)) == 1
    await store.delete("ada", with_number=True)
    assert await store.events("ada", limit=1000) == []
    await store.close()


async def test_a_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "agent.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="newer release"):
        await AgentStore.open(tmp_path / "agent.db")


async def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "agent.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"agent\.db"):
        await AgentStore.open(tmp_path / "agent.db")


async def test_what_was_committed_survives_a_kill_without_warning(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.store import AgentStore

async def main():
    store = await AgentStore.open(Path(sys.argv[1]))
    await store.save(Agent.new("ada", agent_token={AGENT_TOKEN!r}, now=datetime.now(UTC)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    path = tmp_path / "agent.db"
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path))
    assert await killed.wait() == -signal.SIGKILL
    store = await AgentStore.open(path)
    assert [a.user_id for a in await store.load()] == ["ada"]
    await store.close()


async def test_only_what_could_not_be_found_out_again_waits_for_the_disk(tmp_path: Path) -> None:
    """The move is part of a wake, and a disk that is busy with swap can delay it."""
    store = await AgentStore.open(tmp_path / "agent.db")
    asked: list[str] = []
    await store._db.set_trace_callback(asked.append)
    ada = Agent.new("ada", agent_token=AGENT_TOKEN, now=NOW)
    await store.save(ada)
    await store.save_all([ada])
    assert not [one for one in asked if "synchronous" in one]
    for durable in (store.keep(ada), store.delete("ada", with_number=False)):
        asked.clear()
        await durable
        assert (asked[0], asked[-2], asked[-1]) == (
            "PRAGMA synchronous = FULL",
            "COMMIT",
            "PRAGMA synchronous = NORMAL",
        )
    await store.close()


async def test_a_write_cut_short_anywhere_leaves_no_transaction_open(tmp_path: Path) -> None:
    store = await AgentStore.open(tmp_path / "agent.db")
    ada = Agent.new("ada", agent_token=AGENT_TOKEN, now=NOW)
    for steps in range(12):
        writing = asyncio.create_task(store.save(ada))
        for _ in range(steps):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await store.save(ada)
    assert [a.user_id for a in await store.load()] == ["ada"]
    await store.close()


async def test_a_full_disk_loses_no_state_and_ends_when_space_is_freed(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        store = host.parts.registry._store
        await store._db.execute("PRAGMA max_page_count = 1")
        agent.blockers = ["x" * 200_000]
        await host.parts.registry.save(agent)

        health = (await host.client.get("/health")).json()
        assert health["status"] == "degraded"
        assert "full" in health["problems"][0]
        assert "Free space" in health["problems"][0]
        # Agents go on: waking and pausing do not depend on the disk.
        assert (
            await host.client.post("/api/containers/ada/hibernate", json={"mode": "pause"})
        ).status_code == 200
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)

        await store._db.execute("PRAGMA max_page_count = 1000000")
        await host.sweep()
        assert (await host.client.get("/health")).json()["status"] == "ok"
        (read,) = await store.load()
        assert (read.state, read.last_activity_kind) == (S.RUNNING, ActivityKind.HTTP)


async def test_a_new_agent_is_not_created_while_it_cannot_be_stored(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        store = host.parts.registry._store
        await store._db.execute("PRAGMA query_only = ON")
        body = {"userId": "ben", "agentToken": AGENT_TOKEN}
        answer = await host.client.post("/api/containers", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
        assert answer.headers["retry-after"] == "10"
        assert "ben" not in host.runtime.containers
        assert (await host.client.get("/api/containers/ben")).status_code == 404

        await store._db.execute("PRAGMA query_only = OFF")
        assert (await host.client.get("/health")).json()["status"] == "degraded"
        assert (await host.client.post("/api/containers", json=body)).status_code == 201
        assert (await host.client.get("/health")).json()["status"] == "ok"  # before any sweep


async def test_activity_is_written_by_the_sweep_not_by_the_request(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        store = host.parts.registry._store
        host.clock.advance(minutes=5)
        await host.wakes.awake("ada", kind=ActivityKind.WEBSOCKET)
        (read,) = await store.load()
        assert read.last_activity_at < agent.last_activity_at
        await host.sweep()
        (read,) = await store.load()
        assert read.last_activity_at == agent.last_activity_at
        assert read.last_activity_kind is ActivityKind.WEBSOCKET


WRITES: dict[str, Callable[[AgentRegistry, Agent], Awaitable[None]]] = {
    "flush": lambda registry, _: registry.flush(),
    "policy": lambda registry, agent: registry.set_policy(agent, AgentPolicy(never_sleep=True)),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_an_agent_removed_while_a_write_waits_is_not_written_again(
    tmp_path: Path, write: Callable[[AgentRegistry, Agent], Awaitable[None]]
) -> None:
    async with open_host(tmp_path) as host:
        agent, registry = await host.provision(), host.parts.registry
        registry.touch(agent, ActivityKind.WEBSOCKET)
        await asyncio.gather(registry.forget(agent, with_state=False), write(registry, agent))
        assert registry.find("ada") is None
        assert await registry._store.load() == []


async def test_an_agent_that_could_not_be_removed_is_written_as_before(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent, registry = await host.provision(), host.parts.registry
        store = registry._store
        await store._db.execute("PRAGMA query_only = ON")
        with pytest.raises(Problem, match="cannot be used"):
            await registry.forget(agent, with_state=False)
        assert registry.get("ada") is agent

        await store._db.execute("PRAGMA query_only = OFF")
        registry.touch(agent, ActivityKind.WEBSOCKET)
        await registry.flush()
        (read,) = await store.load()
        assert read.last_activity_kind is ActivityKind.WEBSOCKET


@pytest.mark.parametrize("write", ["save_all", "save_wake_times"])
async def test_a_flush_cut_short_anywhere_leaves_its_work_to_the_next(
    tmp_path: Path, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path) as host:
        agent, registry = await host.provision(), host.parts.registry
        store, begun = registry._store, asyncio.Event()

        async def never_end(_: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        registry.touch(agent, ActivityKind.WEBSOCKET)
        registry.woke(S.PAUSED, seconds=7)
        with monkeypatch.context() as slow:
            slow.setattr(store, write, never_end)
            flushing = asyncio.create_task(registry.flush())
            await begun.wait()
            flushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flushing
        assert agent.unsaved

        await registry.flush()
        assert not registry.get("ada").unsaved
        (read,) = await store.load()
        assert read.last_activity_kind is ActivityKind.WEBSOCKET
        assert (await store.wake_times())[S.PAUSED] == [7]


async def stored(store: AgentStore, user_id: str) -> Agent:
    agent = Agent.new(user_id, agent_token=AGENT_TOKEN, now=NOW)
    await store.keep(agent)
    return agent


async def test_a_number_is_never_given_twice(tmp_path: Path) -> None:
    store = await AgentStore.open(tmp_path / "agent.db")
    ada, ben = await stored(store, "ada"), await stored(store, "ben")
    assert (ada.number, ben.number) == (1, 2)

    await store.delete("ben", with_number=True)  # with its state: the number is unused now
    assert (await stored(store, "cam")).number == 3
    await store.delete("ada", with_number=False)  # its state stays, and is still number 1's
    assert (await stored(store, "dan")).number == 4
    await store.close()

    store = await AgentStore.open(tmp_path / "agent.db")
    assert (await stored(store, "ada")).number == 1
    assert (await stored(store, "ben")).number == 5
    await store.keep(ada)
    assert {a.user_id: a.number for a in await store.load()} == {
        "ada": 1, "ben": 5, "cam": 3, "dan": 4,
    }  # fmt: skip
    await store.close()


async def test_agents_of_an_older_release_get_numbers(tmp_path: Path) -> None:
    before = next(n for n, script in enumerate(_MIGRATIONS) if "TABLE numbers" in script)
    with sqlite3.connect(tmp_path / "agent.db") as older:
        for script in _MIGRATIONS[:before]:
            older.executescript(script)
        older.execute(f"PRAGMA user_version = {before}")
        for user_id in ("ada", "ben", "cam"):
            older.execute(
                "INSERT INTO agents (user_id, gateway_token, agent_token, device_seed, created_at, "
                "last_activity_at, last_activity_kind, state, state_since, blockers) "
                "VALUES (?1, 'g', 'a', ?2, ?3, ?3, 'http', 'stopped', ?3, '[]')",
                (user_id, bytes(32), NOW.isoformat()),
            )
    older.close()

    store = await AgentStore.open(tmp_path / "agent.db")
    numbers = {agent.user_id: agent.number for agent in await store.load()}
    await store.close()
    assert numbers == {"ada": 1, "ben": 2, "cam": 3}
