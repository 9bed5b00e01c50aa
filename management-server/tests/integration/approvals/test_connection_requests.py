"""An agent that gave its person a link goes on once it is connected, whatever dies meanwhile."""

from datetime import timedelta

import pytest
from ocmt_common.problems import Problem
from ocmt_management.auth.models import Status, User
from ocmt_management.tools import connection_requests
from ocmt_management.tools.connection_requests import (
    MAX_WAITING,
    WAITS,
    delete_old_connection_requests,
    note_connected,
)
from ocmt_management.tools.models import ConnectionRequest, Wanted
from ocmt_testing.management.approvals import World
from sqlalchemy import select, update

MANY = 40


async def connect(world: World, user_id: str, wanted: str, kind: Wanted = Wanted.ACCOUNT) -> None:
    async with world.database.write() as session:
        await note_connected(
            session, user_id, kind, wanted, now=world.now, what=f"{wanted} for you"
        )


async def rows(world: World, user_id: str) -> list[ConnectionRequest]:
    async with world.database.read() as session:
        found = await session.scalars(
            select(ConnectionRequest).where(ConnectionRequest.user_id == user_id)
        )
        return list(found)


async def become(world: World, user_id: str, status: Status) -> None:
    async with world.database.write() as session:
        await session.execute(update(User).where(User.id == user_id).values(status=status))


def told(world: World, user_id: str) -> list[str]:
    return list(world.transcripts[user_id].messages.values())


@pytest.mark.both_databases
async def test_a_server_killed_at_any_step_tells_the_agent_once(world: World) -> None:
    for at in range(1, MANY):
        ada = await world.person()
        await world.start().connection_requests.add(ada, Wanted.ACCOUNT, "github")
        await connect(world, ada, "github")
        server = world.start(kill_at=at)
        try:
            await server.attend()
        except BaseException:
            assert server.killing.dead
        await world.settle()
        (message,) = told(world, ada)
        assert message.startswith("[OCMT] I connected github for you.")
        assert await rows(world, ada) == []
        await world.close_processes()
        if not server.killing.dead:
            break
    assert 5 < at < MANY - 1


@pytest.mark.parametrize("deaths", [["before"], ["after"], ["queued", "before"]], ids=" ".join)
async def test_a_gateway_that_dies_at_the_message_has_it_once(
    world: World, deaths: list[str]
) -> None:
    ada = await world.person()
    await world.start().connection_requests.add(ada, Wanted.ACCOUNT, "github")
    world.transcripts[ada].dies_at_send = list(deaths)
    await connect(world, ada, "github")
    await world.settle()
    assert len(told(world, ada)) == 1
    assert await rows(world, ada) == []


@pytest.mark.both_databases
async def test_only_what_is_waited_for_is_told(world: World) -> None:
    ada, bob = await world.person(), await world.person()
    server = world.start()
    marks = {
        await server.connection_requests.add(ada, Wanted.ACCOUNT, "github"),
        await server.connection_requests.add(ada, Wanted.ACCOUNT, "github"),
    }
    assert len(marks) == 1, "the same wait"
    await server.connection_requests.add(bob, Wanted.ACCOUNT, "")
    await server.connection_requests.add(bob, Wanted.SERVER, "github")

    await connect(world, ada, "gitlab")
    await connect(world, ada, "github", Wanted.SERVER)
    await world.settle()
    assert told(world, ada) == told(world, bob) == []
    await connect(world, bob, "notion")
    await world.settle()
    assert ["notion" in one for one in told(world, bob)] == [True]
    assert told(world, ada) == []

    world.now += WAITS + timedelta(minutes=1)
    await connect(world, ada, "github")
    await world.settle()
    assert told(world, ada) == [], "too late"
    world.now += timedelta(days=8)
    async with world.database.write() as session:
        await delete_old_connection_requests(session, lambda: world.now)
    assert await rows(world, ada) == await rows(world, bob) == []


async def test_an_agent_asks_for_so_many_at_most(world: World) -> None:
    ada, server = await world.person(), world.start()
    for number in range(MAX_WAITING + 5):
        world.now += timedelta(seconds=1)
        await server.connection_requests.add(ada, Wanted.SERVER, str(number))
    waiting = {row.wanted for row in await rows(world, ada)}
    assert len(waiting) == MAX_WAITING
    assert {"4", "5", "24"} & waiting == {"5", "24"}, "the oldest were dropped"


async def test_a_suspended_person_and_an_agent_that_is_away_are_told_later(world: World) -> None:
    ada, server = await world.person(), world.start()
    await server.connection_requests.add(ada, Wanted.ACCOUNT, "github")
    await connect(world, ada, "github")
    await become(world, ada, Status.SUSPENDED)
    await server.attend()
    assert told(world, ada) == []
    await become(world, ada, Status.ACTIVE)
    world.unreachable = Problem(503, "agent-server-unreachable", "It is away.")
    await world.settle()
    assert told(world, ada) == []
    world.unreachable = None
    await world.settle()
    assert len(told(world, ada)) == 1


@pytest.mark.both_databases
async def test_those_who_wait_longest_come_first_and_the_suspended_hold_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.start()
    people = [await world.person() for _ in range(5)]
    for wanted in ("github", "notion"):
        for user_id in people:
            world.now += timedelta(seconds=1)
            await server.connection_requests.add(user_id, Wanted.ACCOUNT, wanted)
            await connect(world, user_id, wanted)
    await become(world, people[0], Status.SUSPENDED)
    await become(world, people[2], Status.DELETING)
    assert await server.connection_requests.due() == [people[1], people[3], people[4]]
    monkeypatch.setattr(connection_requests, "_AT_ONCE", 2)
    assert await server.connection_requests.due() == [people[1], people[3]]
    await become(world, people[0], Status.ACTIVE)
    assert await server.connection_requests.due() == people[:2]
