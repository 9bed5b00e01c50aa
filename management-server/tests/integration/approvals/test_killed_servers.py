"""A server process killed at any of its steps: the call runs at most once, no decision is lost.

Each test counts the steps of an undisturbed run (a transaction's begin, commit and end; the request
to the tool server and its answer; each request to the gateway and its answer) and then repeats it,
killed at each of them in turn. Another process goes on with what is in the database.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from ocmt_common.problems import Problem
from ocmt_management.tools import approval_runner
from ocmt_management.tools.approval_states import ApprovalState, Decision
from ocmt_testing.management.approvals import RESULT, Killed, Process, World

Life = Callable[[World, Process, str], Awaitable[bytes | None]]
"""What happens while a process serves a user. Returns the answer to the agent's request."""

MANY = 200


async def approved_in_time(world: World, server: Process, ada: str) -> bytes | None:
    held = server.hold(world.call(ada))
    answer = None
    with suppress(Killed):
        await server.decide(ada)
        await server.idle()
        answer = await held
        await server.attend()
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    return answer


async def approved_later(world: World, server: Process, ada: str) -> bytes | None:
    with suppress(Killed):
        await server.gives_up(world.call(ada))
        await server.decide(ada)
        await server.idle()
        await server.attend()
        await server.attend()
    return None


async def denied_later(world: World, server: Process, ada: str) -> bytes | None:
    with suppress(Killed):
        await server.gives_up(world.call(ada))
        await server.decide(ada, Decision.NO)
        await server.attend()
    return None


async def decide_if_it_still_waits(server: Process, ada: str, decision: Decision) -> None:
    """The person, whose page showed an error, looks again; the agent calls again if need be."""
    if not await server.world.rows(ada):
        told = await server.gives_up(server.world.call(ada))
        assert b"waits for" in told, told
    for one in await server.approvals.latest(ada):
        if one["state"] == "waiting":
            with suppress(Problem):
                await server.approvals.decide(ada, one["id"], decision, version=one["version"])
    await server.idle()


async def check(world: World, ada: str, answer: bytes | None, decision: Decision) -> None:
    """What holds for every user in the end, wherever their processes were killed."""
    calls = [call for call in world.ran if call.user_id == ada]
    (row,) = await world.rows(ada)
    messages = world.transcripts[ada].messages
    assert len(calls) <= 1
    assert row.decision == decision
    if decision is Decision.NO:
        assert (row.state, calls) == ("denied", [])
    else:
        # Uncertain is right only if it may have run, and is never a guess about a stored result.
        assert row.state in ("done", "uncertain")
        assert row.state == "uncertain" or len(calls) == 1
    told_by_message = list(messages) == [f"approval:{row.id}:{row.state}"]
    told_by_answer = answer == RESULT and row.state == "done"
    assert told_by_message or told_by_answer
    assert row.next_at is None


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("life", "decision"),
    [
        (approved_in_time, Decision.ONCE),
        (approved_later, Decision.ONCE),
        (denied_later, Decision.NO),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_server_killed_at_any_step(world: World, life: Life, decision: Decision) -> None:
    states: set[str] = set()
    for at in range(1, MANY):
        ada, server = await world.person(), world.start(kill_at=at)
        answer = await life(world, server, ada)
        await decide_if_it_still_waits(world.start(), ada, decision)
        await world.settle()
        await check(world, ada, answer, decision)
        states.add((await world.rows(ada))[0].state)
        await world.close_processes()
        if not server.killing.dead:
            break

    assert at > 10
    assert states == (
        {ApprovalState.DENIED}
        if decision is Decision.NO
        else {ApprovalState.DONE, ApprovalState.UNCERTAIN}
    )


@pytest.mark.parametrize(
    "deaths",
    [["before"], ["after"], ["queued"], ["queued", "before", "after"], ["before"] * 5],
    ids=" ".join,
)
async def test_a_gateway_killed_at_the_message_has_it_once_in_the_end(
    world: World, deaths: list[str]
) -> None:
    ada, server = await world.person(), world.start()
    world.transcripts[ada].dies_at_send = list(deaths)

    await approved_later(world, server, ada)
    await world.settle()

    await check(world, ada, None, Decision.ONCE)
    assert world.transcripts[ada].sends == len(deaths) + (deaths[-1] != "after")


async def test_an_agent_that_cannot_be_reached_for_hours_is_told_when_it_can(world: World) -> None:
    ada, server = await world.person(), world.start()
    world.unreachable = Problem(503, "agent-server-unreachable", "It is away.")
    await approved_later(world, server, ada)
    for _ in range(12):
        world.now += timedelta(minutes=10)
        await world.settle()
    assert world.transcripts[ada].messages == {}

    world.unreachable = None
    await world.settle()

    await check(world, ada, None, Decision.ONCE)


async def test_servers_killed_one_after_the_other(world: World) -> None:
    """The second goes on with what the first left, and is killed as well."""
    steps = list(itertools.product(range(1, 26), range(1, 16)))
    for first, second in random.Random(16).sample(steps, 40):
        ada = await world.person()
        await approved_later(world, world.start(kill_at=first), ada)
        server = world.start(kill_at=second)
        with suppress(Killed):
            await decide_if_it_still_waits(server, ada, Decision.ONCE)
            world.now += timedelta(seconds=30)
            await server.attend()
            await server.attend()
        await decide_if_it_still_waits(world.start(), ada, Decision.ONCE)
        await world.settle()
        await check(world, ada, None, Decision.ONCE)
        await world.close_processes()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_runner, "_RETRY_S", 0.01)


@pytest.mark.usefixtures("soon")
async def test_a_call_that_was_not_sent_runs_later_and_is_not_uncertain(world: World) -> None:
    """The database is away, the server's turn does not come, or it is paused; also for long."""
    ada, server = await world.person(), world.start()
    world.not_sent = 3
    held = server.hold(world.call(ada))
    await server.decide(ada)
    for _ in range(4):
        await server.idle()
        await server.attend()

    assert await held == RESULT
    await server.attend()
    await check(world, ada, RESULT, Decision.ONCE)
    assert world.not_sent == 0


@pytest.mark.usefixtures("soon")
async def test_a_call_that_was_not_sent_is_asked_for_again_if_its_rule_changed(
    world: World,
) -> None:
    ada, server = await world.person(), world.start()
    world.not_sent = 1
    held = server.hold(world.call(ada))
    await server.decide(ada)
    await server.runner.idle()
    world.policy.set("send", rules_version=2)
    await server.attend()

    (row,) = await world.rows(ada)
    assert (row.state, row.changed, world.ran) == ("waiting", "rule", [])
    held.cancel()


@pytest.mark.usefixtures("soon")
async def test_a_call_that_was_not_sent_survives_that_another_process_took_it_for_lost(
    world: World,
) -> None:
    ada, server, other = await world.person(), world.start(), world.start()
    world.not_sent = 1

    async def lost() -> None:
        world.now += timedelta(seconds=30)
        await other.attend()
        (row,) = await world.rows(ada)
        assert row.state == ApprovalState.UNCERTAIN

    world.before_not_sent = lost
    await server.gives_up(world.call(ada))
    await server.decide(ada)
    await server.idle()
    await world.settle()

    (row,) = await world.rows(ada)
    assert (row.state, len(world.ran)) == (ApprovalState.DONE, 1)
    assert list(world.transcripts[ada].messages)[-1] == f"approval:{row.id}:done"
