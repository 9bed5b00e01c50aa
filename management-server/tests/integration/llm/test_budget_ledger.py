"""Budgets hold for any order of arrivals, cuts and crashes, of several servers on one database.

Never over a hard limit by more than one request's reserve, never refused while there is room.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocmt_management.auth.models import Role, Status, User
from ocmt_management.db import Database
from ocmt_management.llm.budget_ledger import BudgetLedger, BudgetReached, settle_abandoned
from ocmt_management.llm.budgets import Limits
from ocmt_management.llm.models import Reservation, SharedKey, Usage
from ocmt_management.llm.repository import UsageRepository
from ocmt_management.llm.request_source import Source
from ocmt_management.llm.shared_keys_repository import SharedKeyRepository
from ocmt_management.llm.usage import UsageKey, UsageSum
from ocmt_management.llm.usage_recorder import UsageRecorder
from ocmt_management.migrations import migrate
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.keys import KeyRing
from sqlalchemy import URL, func, select

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEYS = KeyRing({"k1": bytes(range(32))})
USERS = ("ada", "bob")
MOST = 40
"""The largest reserve in these tests."""


class Installation:
    """A database and what servers on it do; `now` is their clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.servers = [self._server(), self._server()]

    def clock(self) -> datetime:
        return self.now

    def _server(self) -> tuple[BudgetLedger, UsageRecorder]:
        return (
            BudgetLedger(self.database, self.clock),
            UsageRecorder(self.database, KEYS, self.clock),
        )

    def crash(self, server: int) -> None:
        """All that it held in memory is lost."""
        self.servers[server] = self._server()

    def key(self, user: str, source: Source = Source.CHAT, *, shared: bool = False) -> UsageKey:
        provider = "openai" if shared else "demo"
        return UsageKey(user, self.now.date(), provider, "m", source, shared)

    async def share(self, *, day_hard: int | None = None, month_hard: int | None = None) -> None:
        """Share a key with everyone, and limit what each user may spend of it."""
        async with self.database.write() as session:
            row = SharedKey(
                provider="openai", everyone=True, suspended=False, day_hard=day_hard,
                month_hard=month_hard, updated_at=self.now,
            )  # fmt: skip
            await SharedKeyRepository(session).put(row, ())

    async def spent_of_shared(self, user_id: str) -> int:
        """Written costs of the shared key, with reservations."""
        async with self.database.read() as session:
            rows = SharedKeyRepository(session)
            return (await rows.spent("openai", day=self.now.date(), user_id=user_id)).day

    async def limit(self, user_id: str | None, limits: Limits) -> None:
        async with self.database.write() as session:
            await UsageRepository(session).set_budget(user_id, limits, self.now)

    async def spent(self, user_id: str | None, day: date | None = None) -> int:
        """Written costs, without reservations."""
        query = select(func.sum(Usage.cost)).where(Usage.day == (day or self.now.date()))
        if user_id is not None:
            query = query.where(Usage.user_id == user_id)
        async with self.database.read() as session:
            return int(await session.scalar(query) or 0)

    async def open_reservations(self) -> int:
        async with self.database.read() as session:
            return int(await session.scalar(select(func.count(Reservation.id))) or 0)


async def with_users(database: Database) -> Installation:
    async with database.write() as session:
        for name in USERS:
            session.add(
                User(id=name, email=f"{name}@example.com", role=Role.MEMBER,
                     status=Status.ACTIVE, created_at=NOW)
            )  # fmt: skip
    return Installation(database)


@pytest.fixture
async def installation(
    database_url: str, make_settings: Callable[..., ManagementSettings]
) -> AsyncIterator[Installation]:
    url = make_settings(database_url=database_url).database
    await migrate(url)
    database = Database(url)
    yield await with_users(database)
    await database.close()


async def attempt(
    installation: Installation, server: int, key: UsageKey, amount: int
) -> str | None:
    try:
        return await installation.servers[server][0].reserve(key, amount)
    except BudgetReached:
        return None


@pytest.mark.both_databases
async def test_sixteen_at_once_on_two_servers_pass_no_limit(installation: Installation) -> None:
    await installation.limit("ada", Limits(day_hard=100))
    key = installation.key("ada")

    got = await asyncio.gather(*(attempt(installation, n % 2, key, 30) for n in range(16)))

    # 30, 60, 90 and 120 are reserved: the fourth began while there was room.
    assert len([one for one in got if one]) == 4


@pytest.mark.both_databases
async def test_the_total_limits_all_together_and_each_their_own(installation: Installation) -> None:
    await installation.limit(None, Limits(month_hard=50))
    await installation.limit("bob", Limits(day_hard=10))

    assert await attempt(installation, 0, installation.key("bob"), 10)
    assert await attempt(installation, 0, installation.key("bob"), 10) is None
    assert await attempt(installation, 1, installation.key("ada"), 45)
    with pytest.raises(BudgetReached) as refused:
        await installation.servers[0][0].reserve(installation.key("ada"), 1)
    assert refused.value.total


@pytest.mark.both_databases
async def test_what_a_request_did_not_use_is_free_again(installation: Installation) -> None:
    await installation.limit("ada", Limits(day_hard=100))
    key = installation.key("ada")
    reservation = await attempt(installation, 0, key, 100)
    assert await attempt(installation, 1, key, 1) is None

    recorder = installation.servers[0][1]
    recorder.record(key, UsageSum(requests=1, cost=60), reservation=reservation)
    assert await attempt(installation, 1, key, 1) is None  # not yet written
    await recorder.write()

    assert await installation.spent("ada") == 60
    assert await attempt(installation, 1, key, 1)


@pytest.mark.both_databases
async def test_what_a_lost_server_had_reserved_is_counted_once(installation: Installation) -> None:
    key = installation.key("ada")
    await attempt(installation, 0, key, 25)
    installation.crash(0)
    for hours in (1, 3, 5):
        installation.now = NOW + timedelta(hours=hours)
        await settle_abandoned(installation.database, installation.clock)

    assert await installation.spent("ada", NOW.date()) == 25
    assert await installation.open_reservations() == 0


@pytest.mark.both_databases
async def test_two_servers_add_to_one_row(installation: Installation) -> None:
    recorders = [recorder for _, recorder in installation.servers]
    for _ in range(5):
        for recorder in recorders:
            recorder.record(installation.key("ada"), UsageSum(requests=1, tokens_in=3, cost=2))
        await asyncio.gather(*(recorder.write() for recorder in recorders))

    assert await installation.spent("ada") == 20


async def test_a_new_day_and_a_new_month_begin_empty(installation: Installation) -> None:
    await installation.limit("ada", Limits(day_hard=10, month_hard=15))
    assert await attempt(installation, 0, installation.key("ada"), 10)
    assert await attempt(installation, 0, installation.key("ada"), 10) is None
    installation.now += timedelta(days=1)
    assert await attempt(installation, 0, installation.key("ada"), 5)
    installation.now += timedelta(days=1)
    assert await attempt(installation, 0, installation.key("ada"), 1) is None  # the month's
    installation.now = datetime(2026, 12, 1, tzinfo=UTC)
    assert await attempt(installation, 0, installation.key("ada"), 1)


@pytest.mark.both_databases
async def test_each_user_of_a_shared_key_has_its_limit(installation: Installation) -> None:
    await installation.share(day_hard=100)
    ada, bob = (installation.key(user, shared=True) for user in USERS)

    got = await asyncio.gather(*(attempt(installation, n % 2, ada, 30) for n in range(16)))
    assert len([one for one in got if one]) == 4
    with pytest.raises(BudgetReached) as refused:
        await installation.servers[0][0].reserve(ada, 1)
    assert refused.value.of_shared_key
    assert await attempt(installation, 0, bob, 30)  # the limit is each user's own
    assert await attempt(installation, 0, installation.key("ada"), 500)  # and not of other keys


@pytest.mark.both_databases
async def test_what_a_shared_key_paid_is_counted_once_also_after_a_crash(
    installation: Installation,
) -> None:
    await installation.share(month_hard=100)
    key = installation.key("ada", shared=True)
    first = await attempt(installation, 0, key, 90)
    assert await attempt(installation, 0, installation.key("ada"), 7)  # of another key
    installation.servers[0][1].record(key, UsageSum(requests=1, cost=40), reservation=first)
    await installation.servers[0][1].write()
    assert await installation.spent_of_shared("ada") == 40
    assert await attempt(installation, 0, key, 60)
    assert await attempt(installation, 1, key, 1) is None
    installation.crash(0)
    installation.now += timedelta(hours=3)
    for _ in range(2):
        await settle_abandoned(installation.database, installation.clock)

    assert await installation.spent_of_shared("ada") == 100
    assert await installation.spent("ada") == 107
    assert await attempt(installation, 1, key, 1) is None
    installation.now = datetime(2026, 12, 1, tzinfo=UTC)
    assert await attempt(installation, 1, installation.key("ada", shared=True), 1)


LIMIT = st.none() | st.integers(0, 120)
ARRIVALS = st.lists(
    st.tuples(st.sampled_from(USERS), st.integers(0, 1), st.integers(0, MOST),
              st.sampled_from((Source.CHAT, Source.JOB)), st.booleans()),
    min_size=1, max_size=16,
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), ARRIVALS),
        st.tuples(st.just("end"), st.tuples(st.integers(0, 30), st.integers(0, 100))),
        st.tuples(st.just("write"), st.integers(0, 1)),
        st.tuples(st.just("crash"), st.integers(0, 1)),
        st.tuples(st.just("later"), st.none()),
    ),
    max_size=25,
)


class Play:
    """What happens, beside a count of our own of what each budget holds.

    A request under way holds its reserve, until its cost is written; one that was lost, for good.
    """

    def __init__(
        self,
        installation: Installation,
        hard: dict[str | None, int],
        kept: int,
        shared_hard: int | None,
    ) -> None:
        self.installation = installation
        self.hard = hard
        self.kept = kept
        self.shared_hard = shared_hard
        self.under_way: list[tuple[int, UsageKey, int, str]] = []
        self.recorded: list[tuple[int, UsageKey, int, int]] = []
        self.lost: list[tuple[UsageKey, int]] = []
        self.spent: list[tuple[UsageKey, int]] = []

    def held(self, budget: str | None, *, of_shared: bool = False) -> int:
        today = self.installation.now.date()
        all_held = [
            *((key, reserve) for _, key, reserve, _ in self.under_way),
            *((key, reserve) for _, key, reserve, _ in self.recorded),
            *self.lost,
            *self.spent,
        ]
        return sum(
            amount
            for key, amount in all_held
            if budget in (None, key.user_id) and key.day == today and (key.shared or not of_shared)
        )

    def room(self, user: str, source: Source, shared: bool) -> bool:
        kept = self.kept if source is Source.CHAT else 0
        if (
            shared
            and self.shared_hard is not None
            and self.held(user, of_shared=True) >= self.shared_hard
        ):
            return False
        return all(
            self.held(budget) < self.hard[budget] - kept
            for budget in (user, None)
            if budget in self.hard
        )

    async def arrive(self, arrivals: list[tuple[str, int, int, Source, bool]]) -> None:
        keys = [
            self.installation.key(user, source, shared=shared)
            for user, _, _, source, shared in arrivals
        ]
        had_room = [self.room(user, source, shared) for user, _, _, source, shared in arrivals]
        got = await asyncio.gather(
            *(
                attempt(self.installation, server, key, reserve)
                for key, (_, server, reserve, _, _) in zip(keys, arrivals, strict=True)
            )
        )
        for key, (_, server, reserve, *_), reservation in zip(keys, arrivals, got, strict=True):
            if reservation is not None:
                self.under_way.append((server, key, reserve, reservation))
        for (user, _, _, source, shared), room, reservation in zip(
            arrivals, had_room, got, strict=True
        ):
            assert room or reservation is None, "begun without room"
            # Others came first, and took the room.
            with_room = self.room(user, source, shared)
            assert reservation is not None or not with_room, "refused with room"

    async def end(self, which: tuple[int, int]) -> None:
        number, percent = which
        if not self.under_way:
            return
        server, key, reserve, reservation = self.under_way.pop(number % len(self.under_way))
        cost = reserve * percent // 100
        used = UsageSum(requests=1, estimated=percent % 2, cost=cost)
        self.installation.servers[server][1].record(key, used, reservation=reservation)
        self.recorded.append((server, key, reserve, cost))

    async def write(self, server: int) -> None:
        await self.installation.servers[server][1].write()
        self.spent += [(key, cost) for one, key, _, cost in self.recorded if one == server]
        self.recorded = [one for one in self.recorded if one[0] != server]

    async def crash(self, server: int) -> None:
        self.installation.crash(server)
        self.lost += [(key, reserve) for one, key, reserve, _ in self.under_way if one == server]
        self.lost += [(key, reserve) for one, key, reserve, _ in self.recorded if one == server]
        self.under_way = [one for one in self.under_way if one[0] != server]
        self.recorded = [one for one in self.recorded if one[0] != server]

    async def later(self, _: None) -> None:
        while self.under_way:
            await self.end((0, 100))
        for server in (0, 1):
            await self.write(server)
        self.installation.now += timedelta(hours=3)
        await settle_abandoned(self.installation.database, self.installation.clock)
        self.spent += self.lost
        self.lost = []

    async def check(self) -> None:
        for budget, hard in self.hard.items():
            assert self.held(budget) < hard + MOST or self.held(budget) == 0
            assert await self.installation.spent(budget) <= self.held(budget)
        if self.shared_hard is not None:
            for user in USERS:
                held = self.held(user, of_shared=True)
                assert held < self.shared_hard + MOST or held == 0
                assert await self.installation.spent_of_shared(user) == held


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two users."""
    file = tmp_path_factory.mktemp("budgets") / "template.db"
    url = URL.create("sqlite+aiosqlite", database=str(file))

    async def make() -> None:
        await migrate(url)
        database = Database(url)
        await with_users(database)
        await database.close()

    asyncio.run(make())
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, ada=LIMIT, total=LIMIT, shared=LIMIT, kept=st.integers(0, 30))
def test_a_budget_holds_whatever_comes(
    template: Path,
    steps: list[tuple[str, Any]],
    ada: int | None,
    total: int | None,
    shared: int | None,
    kept: int,
) -> None:
    hard = {name: limit for name, limit in (("ada", ada), (None, total)) if limit is not None}

    async def play(file: Path) -> None:
        database = Database(URL.create("sqlite+aiosqlite", database=str(file)))
        installation = Installation(database)
        for budget, limit in hard.items():
            await installation.limit(budget, Limits(day_hard=limit, kept_for_jobs=kept))
        await installation.share(day_hard=shared)
        playing = Play(installation, hard, kept, shared)
        try:
            for name, what in steps:
                await getattr(playing, name)(what)
                await playing.check()
        finally:
            await database.close()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "management.db"
        shutil.copyfile(template, file)
        asyncio.run(play(file))
