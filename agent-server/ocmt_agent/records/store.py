"""The agents' records in SQLite, in one file with mode 0600.

Holds all that the server needs to reach the gateways after a restart, including their tokens.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import aiosqlite
from ocmt_common.agent_api import Actor, AgentModel, AgentPolicy, HibernationState, StateEvent

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import SecretText

EVENTS_KEPT = 200
"""Events kept per user. An insert deletes older ones; the registry also deletes them by age."""

# One script per schema version, in order; a released script is never edited.
_MIGRATIONS = (
    """
    CREATE TABLE agents (
        user_id TEXT PRIMARY KEY,
        gateway_token TEXT NOT NULL,
        agent_token TEXT NOT NULL,
        device_seed BLOB NOT NULL,
        created_at TEXT NOT NULL,
        last_activity_at TEXT NOT NULL,
        last_activity_kind TEXT NOT NULL,
        state TEXT NOT NULL,
        state_since TEXT NOT NULL,
        next_job_at TEXT,
        suspension_id TEXT,
        blockers TEXT NOT NULL,
        failure TEXT
    ) STRICT;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES agents ON DELETE CASCADE,
        event TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_by_user ON events (user_id, id);
    """,
    """
    ALTER TABLE agents ADD COLUMN state_who TEXT;
    ALTER TABLE agents ADD COLUMN state_why TEXT NOT NULL DEFAULT '';
    ALTER TABLE agents ADD COLUMN asleep_since TEXT;
    ALTER TABLE agents ADD COLUMN rests_as TEXT;
    ALTER TABLE agents ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE events ADD COLUMN at TEXT NOT NULL DEFAULT '';
    UPDATE events SET at = replace(json_extract(event, '$.at'), 'Z', '+00:00');
    CREATE INDEX events_by_time ON events (at);
    CREATE TABLE wake_times (
        kind TEXT PRIMARY KEY,
        seconds TEXT NOT NULL
    ) STRICT;
    """,
    """
    ALTER TABLE agents ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
    """,
    # AUTOINCREMENT, so that no number is assigned twice.
    """
    CREATE TABLE numbers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        user_id TEXT NOT NULL UNIQUE
    ) STRICT;
    INSERT INTO numbers (user_id) SELECT user_id FROM agents ORDER BY created_at, user_id;
    CREATE TRIGGER number_of_a_new_agent AFTER INSERT ON agents BEGIN
        INSERT INTO numbers (user_id) SELECT new.user_id
        WHERE NOT EXISTS (SELECT * FROM numbers WHERE user_id = new.user_id);
    END;
    """,
    # Stored with the number, since it describes the state, which may outlive the agent.
    """
    ALTER TABLE numbers ADD COLUMN openclaw TEXT;
    """,
    # Also here, so that an agent provisioned again on its state keeps the version.
    """
    ALTER TABLE numbers ADD COLUMN tools_version INTEGER NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE numbers ADD COLUMN model TEXT NOT NULL DEFAULT '{}';
    """,
    # A home outlives the agent's record, like the number.
    """
    ALTER TABLE numbers ADD COLUMN home TEXT;
    CREATE UNIQUE INDEX numbers_by_home ON numbers (home);
    ALTER TABLE agents ADD COLUMN container_token TEXT;
    ALTER TABLE agents ADD COLUMN spare INTEGER NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE agents ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE agents ADD COLUMN old_home TEXT;
    """,
)

_COLUMNS = (
    "user_id", "gateway_token", "agent_token", "device_seed", "created_at", "last_activity_at",
    "last_activity_kind", "state", "state_since", "next_job_at", "suspension_id",
    "blockers", "failure", "state_who", "state_why", "asleep_since", "rests_as",
    "policy", "disabled", "container_token", "spare", "held", "old_home",
)  # fmt: skip
_UPSERT = (
    f"INSERT INTO agents ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608 (our own names)
    "ON CONFLICT (user_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
)


class StoreError(Exception):
    """The database cannot be read or written. `str()` says why and what to do."""


class AgentStore:
    """All SQL of the agent server. Methods raise `StoreError`; a failed write changes nothing."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._db = connection
        self._path = path
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> "AgentStore":
        """Open or create the database and update its schema. Raises `StoreError`."""
        try:
            file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            os.fchmod(file, 0o600)
            os.close(file)
            connection = await aiosqlite.connect(path, isolation_level=None)
        except (OSError, aiosqlite.Error) as error:
            raise StoreError(
                f"{path} cannot be opened: {error}. Let this server's user write to DATA_DIR, and "
                "free space on its disk."
            ) from error
        store = cls(connection, path)
        try:
            await store._prepare()
        except BaseException:
            await connection.close()
            raise
        return store

    async def _prepare(self) -> None:
        async with self._guarded():
            await self._db.execute("PRAGMA journal_mode = WAL")
            # A wake does not wait for fsync. A power cut may lose the latest changes of state, but
            # it also ends the gateways, whose state the next start reads from the runtime.
            await self._db.execute("PRAGMA synchronous = NORMAL")
            await self._db.execute("PRAGMA foreign_keys = ON")
            await self._db.execute("PRAGMA busy_timeout = 5000")
            async with self._db.execute("PRAGMA user_version") as cursor:
                row = await cursor.fetchone()
            version = int(row[0]) if row else 0
            if version > len(_MIGRATIONS):
                raise StoreError(
                    f"{self._path} was written by a newer release (schema {version}); "
                    "start that release, or restore the copy made before it."
                )
            for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
                await self._db.executescript(
                    f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;"
                )

    async def close(self) -> None:
        await self._db.close()

    async def load(self) -> list[Agent]:
        async with self._guarded():
            query = (
                f"SELECT {', '.join(_COLUMNS)}, number, openclaw, tools_version, model "  # noqa: S608 (names of this file)
                "FROM agents JOIN numbers USING (user_id) ORDER BY user_id"
            )
            async with self._db.execute(query) as cursor:
                return [_agent(row) async for row in cursor]

    async def keep(self, agent: Agent) -> None:
        """Write the agent durably: on return, it survives a power cut.

        Sets a new agent's number, and what is stored with the number.
        """
        async with self._transaction(durable=True):
            await self._write([agent])
            query = "SELECT number, openclaw, tools_version, model FROM numbers WHERE user_id = ?"
            async with self._db.execute(query, (agent.user_id,)) as cursor:
                row = await cursor.fetchone()
            if row is not None:  # None if the agent was removed meanwhile
                agent.number, agent.openclaw, agent.tools_version = int(row[0]), row[1], row[2]
                agent.model = AgentModel.model_validate_json(row[3])

    async def homes(self) -> dict[str, str]:
        """User id → home, of all users whose home is not named by the user id."""
        query = "SELECT user_id, home FROM numbers WHERE home IS NOT NULL"
        async with self._guarded(), self._db.execute(query) as cursor:
            return {str(row[0]): str(row[1]) async for row in cursor}

    async def has_number(self, user_id: str) -> bool:
        """Whether the user has or had an agent whose state may still be there."""
        query = "SELECT 1 FROM numbers WHERE user_id = ?"
        async with self._guarded(), self._db.execute(query, (user_id,)) as cursor:
            return await cursor.fetchone() is not None

    async def keep_claim(self, agent: Agent, home: str) -> None:
        """Write a spare as its user's agent, durably: with its number, without its history."""
        async with self._transaction(durable=True):
            await self._db.execute("DELETE FROM agents WHERE user_id = ?", (home,))
            await self._db.execute(
                "UPDATE numbers SET user_id = ?, home = ? WHERE user_id = ?",
                (agent.user_id, home, home),
            )
            await self._write([agent])

    async def keep_move(self, agent: Agent, home: str) -> None:
        """Write durably that an agent goes on in the home, and with the number, of a spare."""
        async with self._transaction(durable=True):
            await self._db.execute("DELETE FROM agents WHERE user_id = ?", (home,))
            await self._db.execute("DELETE FROM numbers WHERE user_id = ?", (home,))
            await self._db.execute(
                "UPDATE numbers SET number = ?, home = ? WHERE user_id = ?",
                (agent.number, home, agent.user_id),
            )
            await self._write([agent])

    async def keep_openclaw(self, user_id: str, version: str) -> None:
        """Store durably which OpenClaw version uses the agent's state."""
        async with self._transaction(durable=True):
            await self._db.execute(
                "UPDATE numbers SET openclaw = ? WHERE user_id = ?", (version, user_id)
            )

    async def keep_tools_version(self, user_id: str, version: int) -> None:
        """Store the version of the user's tools durably."""
        async with self._transaction(durable=True):
            await self._db.execute(
                "UPDATE numbers SET tools_version = ? WHERE user_id = ?", (version, user_id)
            )

    async def keep_model(self, user_id: str, model: AgentModel) -> None:
        """Store the shape of the user's model durably."""
        async with self._transaction(durable=True):
            await self._db.execute(
                "UPDATE numbers SET model = ? WHERE user_id = ?",
                (model.model_dump_json(by_alias=True), user_id),
            )

    async def save(self, agent: Agent, *, event: StateEvent | None = None) -> None:
        """Write the agent and an event in one transaction; neither if the agent was removed."""
        async with self._transaction():
            await self._write([agent])
            if event is not None and not agent.removed:
                await self._db.execute(
                    "INSERT INTO events (user_id, event, at) VALUES (?, ?, ?)",
                    (
                        agent.user_id,
                        event.model_dump_json(by_alias=True, exclude={"id"}),
                        event.at.isoformat(),
                    ),
                )
                await self._db.execute(
                    "DELETE FROM events WHERE user_id = ?1 AND id <= (SELECT id FROM events "
                    "WHERE user_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    (agent.user_id, EVENTS_KEPT),
                )

    async def save_all(self, agents: Iterable[Agent]) -> None:
        async with self._transaction():
            await self._write(agents)

    async def _write(self, agents: Iterable[Agent]) -> None:
        """Within a transaction, write the agents that were not removed meanwhile."""
        await self._db.executemany(_UPSERT, [_row(one) for one in agents if not one.removed])

    async def wake_times(self) -> dict[HibernationState, list[float]]:
        """State woken from → durations of the latest wakes in seconds."""
        query = "SELECT kind, seconds FROM wake_times"
        async with self._guarded(), self._db.execute(query) as cursor:
            return {HibernationState(row[0]): json.loads(row[1]) async for row in cursor}

    async def save_wake_times(self, seconds: dict[HibernationState, list[float]]) -> None:
        async with self._transaction():
            await self._db.executemany(
                "INSERT INTO wake_times (kind, seconds) VALUES (?, ?) "
                "ON CONFLICT (kind) DO UPDATE SET seconds = excluded.seconds",
                [(str(state), json.dumps(values)) for state, values in seconds.items()],
            )

    async def delete(self, user_id: str, *, with_number: bool) -> None:
        """Delete an agent; `with_number` also deletes its number, from which its uid derives."""
        async with self._transaction(durable=True):
            await self._db.execute("DELETE FROM agents WHERE user_id = ?", (user_id,))
            if with_number:
                await self._db.execute("DELETE FROM numbers WHERE user_id = ?", (user_id,))

    async def events(
        self, user_id: str, *, limit: int, before: int | None = None
    ) -> list[StateEvent]:
        """The user's latest `limit` events before the id `before`, oldest first."""
        async with (
            self._turn,  # after the write in flight
            self._guarded(),
            self._db.execute(
                "SELECT id, event FROM events WHERE user_id = ?1 AND (?2 IS NULL OR id < ?2) "
                "ORDER BY id DESC LIMIT ?3",
                (user_id, before, limit),
            ) as cursor,
        ):
            rows = [(int(row[0]), str(row[1])) async for row in cursor]
        return [
            StateEvent.model_validate_json(text).model_copy(update={"id": number})
            for number, text in reversed(rows)
        ]

    async def events_since(self, moment: datetime, *, limit: int) -> list[StateEvent]:
        """The latest `limit` events of all agents since `moment`, oldest first."""
        async with (
            self._turn,  # after the write in flight
            self._guarded(),
            self._db.execute(
                "SELECT event FROM events WHERE at >= ? ORDER BY at DESC, id DESC LIMIT ?",
                (moment.isoformat(), limit),
            ) as cursor,
        ):
            rows = [str(row[0]) async for row in cursor]
        return [StateEvent.model_validate_json(text) for text in reversed(rows)]

    async def drop_events(self, *, older_than: datetime) -> None:
        async with self._transaction():
            await self._db.execute("DELETE FROM events WHERE at < ?", (older_than.isoformat(),))

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        try:
            yield
        except aiosqlite.Error as error:
            raise StoreError(
                f"The agent server's database {self._path.name} cannot be used: {error}. Free "
                "space on its disk, check its permissions, and check that no other program holds "
                "it; the server then continues by itself."
            ) from error

    @asynccontextmanager
    async def _transaction(self, *, durable: bool = False) -> AsyncIterator[None]:
        # All tasks share one connection, so a transaction holds the lock.
        async with self._turn, self._guarded(), self._synced(durable):
            try:
                await self._db.execute("BEGIN IMMEDIATE")
                yield
                await self._db.execute("COMMIT")
            except BaseException:
                # Runs after the cancelled statement; no effect if no transaction has begun.
                await self._db.rollback()
                raise

    @asynccontextmanager
    async def _synced(self, durable: bool) -> AsyncIterator[None]:
        """With `durable`, the commit in the block waits for fsync."""
        if not durable:
            yield
            return
        await self._db.execute("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            await self._db.execute("PRAGMA synchronous = NORMAL")


def _row(agent: Agent) -> tuple[object, ...]:
    return (
        agent.user_id,
        str(agent.gateway_token),
        str(agent.agent_token),
        agent.device.seed(),
        agent.created_at.isoformat(),
        agent.last_activity_at.isoformat(),
        str(agent.last_activity_kind),
        str(agent.state),
        agent.state_since.isoformat(),
        agent.next_job_at.isoformat() if agent.next_job_at else None,
        agent.suspension_id,
        json.dumps(agent.blockers),
        agent.failure,
        str(agent.state_who) if agent.state_who else None,
        agent.state_why,
        agent.asleep_since.isoformat() if agent.asleep_since else None,
        str(agent.rests_as) if agent.rests_as else None,
        agent.policy.model_dump_json(by_alias=True, exclude_defaults=True),
        int(agent.disabled),
        None if agent.container_token is None else str(agent.container_token),
        int(agent.spare),
        int(agent.held),
        agent.old_home,
    )


def _agent(row: aiosqlite.Row) -> Agent:
    (user_id, gateway_token, agent_token, seed, created_at, active_at, active_kind, state,
     since, next_job_at, suspension_id, blockers, failure, who, why, asleep_since,
     rests_as, policy, disabled, container_token, spare, held, old_home, number, openclaw,
     tools_version, model) = row  # fmt: skip
    agent = Agent(
        user_id=user_id,
        gateway_token=SecretText(gateway_token),
        agent_token=SecretText(agent_token),
        number=number,
        openclaw=openclaw,
        tools_version=tools_version,
        model=AgentModel.model_validate_json(model),
        device=DeviceKey.from_seed(seed),
        created_at=datetime.fromisoformat(created_at),
        last_activity_at=datetime.fromisoformat(active_at),
        last_activity_kind=ActivityKind(active_kind),
        state=HibernationState(state),
        state_since=datetime.fromisoformat(since),
        next_job_at=datetime.fromisoformat(next_job_at) if next_job_at else None,
        suspension_id=suspension_id,
        blockers=json.loads(blockers),
        failure=failure,
        state_who=Actor(who) if who else None,
        state_why=why,
        asleep_since=datetime.fromisoformat(asleep_since) if asleep_since else None,
        rests_as=HibernationState(rests_as) if rests_as else None,
        disabled=bool(disabled),
        container_token=SecretText(container_token) if container_token else None,
        spare=bool(spare),
        held=bool(held),
        old_home=old_home,
    )
    agent.set_policy(AgentPolicy.model_validate_json(policy))
    return agent
