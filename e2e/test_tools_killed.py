"""The real agent's call that waits for a decision, while each process of the system is killed.

The tool server counts the calls: it gets each at most once. If management dies while the call runs,
the call is shown as uncertain, the agent gets that as its outcome, and it is never repeated.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpx2
import pytest
from ocmt_testing.management.mcp_servers import RealServer
from ocmt_testing.system.chat import ChatPage
from ocmt_testing.system.person import Person
from ocmt_testing.system.stack import Stack, eventually
from ocmt_testing.system.tools import tool_servers
from playwright.sync_api import Browser

pytestmark = pytest.mark.nightly

KEY = "key-for-notes-0123456789"
ENDED = ("done", "uncertain")


class Life:
    """One call with its marks, from the message in the chat to the agent's knowledge of its end."""

    def __init__(self, person: Person, notes: RealServer, mark: str) -> None:
        self.person = person
        self.notes = notes
        self.mark = mark
        self.stack = person.stack
        self.number = 0
        self.id = ""

    def is_asked(self) -> None:
        self.person.chat.send(f'use: notes__echo {{"text": "say: {self.mark}"}}')
        waiting = eventually(self._waiting, within_s=90, what=f"{self.mark} waits")
        self.number, self.id = int(waiting["number"]), str(waiting["id"])

    def is_decided(self) -> None:
        """On the page, which may have lost its connection meanwhile."""
        card = self.person.decision(self.number)
        card.get_by_role("button", name="Allow once").click()

    def is_given_up(self) -> None:
        """The person stops the run, so that the outcome is delivered as a message."""
        self.person.chat.page.get_by_role("button", name="Stop").click()

    def has_state(self, *states: str) -> str:
        found: str = eventually(
            lambda: next((s for s in states if s == self.state()), None),
            within_s=120,
            what=f"{self.mark} is {' or '.join(states)}",
            every_s=0.02,
        )
        return found

    def state(self) -> str:
        return str(self._row("state"))

    def reached_the_server(self) -> int:
        wanted = {"text": f"say: {self.mark}"}
        return sum(
            seen.is_call and seen.message["params"]["arguments"] == wanted
            for seen in list(self.notes.seen)
        )

    def is_called(self) -> None:
        eventually(
            self.reached_the_server, within_s=60, what=f"{self.mark} is called", every_s=0.01
        )

    def is_told(self) -> None:
        """The agent has the outcome: as the answer to its call, or in its transcript."""
        eventually(
            lambda: self._row("delivery") == "done",
            within_s=240,
            what=f"the agent is told of {self.mark}",
            every_s=0.2,
        )

    def _waiting(self) -> dict[str, Any] | None:
        try:
            found = self.person.approvals()
        except Exception:  # management is being restarted
            return None
        return next(
            (one for one in found if one["state"] == "waiting" and self.mark in one["arguments"]),
            None,
        )

    def _row(self, column: str) -> object:
        uri = f"file:{self.stack.data / 'management' / 'management.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
            query = f"SELECT {column} FROM tool_approvals WHERE id = ?"
            (found,) = database.execute(query, (self.id,)).fetchone()
            return found


def kill(stack: Stack, victim: str, user_id: str) -> None:
    """SIGKILL a process, and wait until a server's successor serves."""
    if victim == "gateway":  # a message, or the person, wakes it
        for pid in stack.gateway_pids(user_id):
            os.kill(pid, signal.SIGKILL)
        return
    before = stack.server_pid(victim)
    assert before is not None
    os.kill(before, signal.SIGKILL)

    health = f"{stack.url if victim == 'management' else stack.agent_url}/health"

    def serves() -> bool:
        if stack.server_pid(victim) in (None, before):
            return False
        with suppress(httpx2.HTTPError):
            return httpx2.get(health, timeout=5).is_success
        return False

    eventually(serves, within_s=120, what=f"{victim} is back", every_s=0.5)


@pytest.fixture(scope="module")
def tools() -> Iterator[RealServer]:
    with tool_servers(KEY) as (notes,):
        yield notes


@pytest.fixture(scope="module")
def person(stack: Stack, browser: Browser, tools: RealServer) -> Iterator[Person]:
    with ChatPage(browser) as chat:
        person = Person(stack, chat, "killed@example.org")
        server = person.add_server("Notes", tools.url, "X-Api-Key", KEY)
        person.rule(server, "ask")
        yield person


@pytest.mark.parametrize("step", ["asked", "decided", "called", "delivered"])
@pytest.mark.parametrize("victim", ["management", "agent", "gateway"])
def test_a_killed_process_neither_repeats_nor_loses_a_call(
    person: Person, tools: RealServer, victim: str, step: str
) -> None:
    stack = person.stack
    life = Life(person, tools, f"{victim}-{step}-{time.monotonic_ns()}")
    life.is_asked()
    if step == "asked":
        kill(stack, victim, person.id)
        life.is_decided()
    elif step == "decided":
        life.is_decided()
        life.has_state("approved", "running", "done")
        kill(stack, victim, person.id)
    elif step == "called":
        tools.hold()
        try:
            life.is_decided()
            life.is_called()
            kill(stack, victim, person.id)
        finally:
            tools.release()
    else:
        life.is_given_up()
        life.is_decided()
        life.has_state("done")
        kill(stack, victim, person.id)
    state = life.has_state(*ENDED)
    life.is_told()

    reached = life.reached_the_server()
    print(f"{victim} killed when {step}: {state}, {reached} call(s) at the server")
    assert reached == 1 or (reached, state) == (0, "uncertain")
    if step != "decided":
        assert reached == 1
    if victim != "management":
        assert state == "done", "management was there and has the result"
    assert state == "uncertain" or step != "called" or victim != "management"
    tidy_up(person)


def tidy_up(person: Person) -> None:
    """Deny what the agent asks for again, until it is silent.

    A killed gateway takes its message up again when it is back, and may ask only then.
    """
    stop = person.chat.page.get_by_role("button", name="Stop")

    def is_silent() -> bool:
        for one in person.approvals():
            if one["state"] == "waiting":
                body = {"decision": "no", "version": one["version"]}
                person.sent("POST", f"/api/approvals/{one['id']}/decision", body)
        return stop.count() == 0

    eventually(is_silent, within_s=300, what="the agent is silent", every_s=1)


def test_a_call_is_held_for_45_seconds_and_its_later_outcome_is_a_message(
    person: Person, tools: RealServer
) -> None:
    life = Life(person, tools, f"held-{time.monotonic_ns()}")
    life.is_asked()
    asked_s = time.monotonic()
    person.hears(f"waits for the decision of your person: it is number {life.number}")
    held_s = time.monotonic() - asked_s
    print(f"held for {held_s:.1f} s")
    assert 40 < held_s < 60
    assert life.reached_the_server() == 0
    person.stack.hibernate(person.id, "pause")

    life.is_decided()
    assert life.has_state(*ENDED) == "done"
    life.is_told()
    assert life.reached_the_server() == 1
    person.hears(f'{life.mark}"}}, "{KEY}"]')
