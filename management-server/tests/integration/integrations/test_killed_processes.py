"""A management process that is killed (SIGKILL) during a refresh, at a real authorization server.

Afterwards the connection works, or it has to be connected again, and that only if the provider had
already replaced the refresh token. Never anything else.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.integrations.refresher import ConnectionTrouble
from ocmt_management.integrations.token_state import LEASE
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.connecting import Person

HOUR = timedelta(hours=1)
PROGRAM = "ocmt_testing.management.killed_refresh"

# Source lines of a refresh, and whether the provider has been asked by then, and whether the new
# tokens are stored.
POINTS = {
    "attempt = str(uuid4())": (False, False),
    "if not taken:": (False, False),
    "request = refresh_request(": (False, False),
    "found = read_tokens(": (True, False),
    "sealed = await tokens.seal(": (True, False),
    "self._failed.pop(row.id, None)": (True, True),
}


class Processes:
    """Starts management processes on the database of the test."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self._program = program

    async def refresh(self, **job: Any) -> dict[str, Any]:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(job).encode() + b"\n")
        line = await self._program.stdout.readline()
        assert line, "the program ended"
        found: dict[str, Any] = json.loads(line)
        assert found["error"] is None, found["error"]
        return found


@pytest.fixture
async def processes(settings: ManagementSettings) -> AsyncIterator[Processes]:
    environ = {
        "DATA_DIR": str(settings.data_dir),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "JWT_SECRET": settings.jwt_secret.get_secret_value(),
        "VAULT_KEY": settings.vault_key.get_secret_value(),
        "AGENT_AUTH_TOKEN": settings.agent_auth_token.get_secret_value(),
        "AGENT_SERVER_URL": "http://127.0.0.1:1",
        "PRIVATE_HOSTS": "127.0.0.1",
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", PROGRAM,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert program.stdin is not None
    program.stdin.write(json.dumps(environ).encode() + b"\n")
    yield Processes(program)
    program.stdin.close()
    await program.wait()


class Killing:
    """One connection, whose refreshing processes are killed."""

    def __init__(
        self, app: FastAPI, ada: Person, processes: Processes, advance: Callable[[timedelta], None]
    ) -> None:
        self.app = app
        self.ada = ada
        self.processes = processes
        self.advance = advance
        self.connection = ""

    async def kill(self, at: int | str | None) -> dict[str, Any]:
        """Kill a process, and check what it left. Returns what happened."""
        if not self.connection:
            self.connection = await self.ada.connect()
        self.advance(HOUR)
        access = self.app.state.integrations.access
        asked = (await self.ada.provider.set())["tokens"]
        ended = await self.processes.refresh(
            at=at,
            user_id=self.ada.id,
            connection_id=self.connection,
            now=self.app.state.clock().isoformat(),
        )
        provider_was_asked = (await self.ada.provider.set())["tokens"] > asked
        self.advance(LEASE)
        trouble: ConnectionTrouble | None = None
        try:
            found = await access(self.ada.id, self.connection)
        except ConnectionTrouble as raised:
            trouble = raised
        state = (await self.ada.one(self.connection))["state"]
        if trouble is None:
            assert state == "ok"
            again = (await self.ada.provider.set())["tokens"] - asked - provider_was_asked
            outcome = "again" if again else "stored"
        else:
            assert (trouble.broken, state) == (True, "reconnect"), f"at {at}: {trouble}"
            assert provider_was_asked, f"at {at}: given up though the provider replaced nothing"
            assert await self.ada.connect(connectionId=self.connection) == self.connection
            found = await access(self.ada.id, self.connection)
            outcome = "reconnect"
        assert await self._works(found.token.reveal()), f"at {at}: the token is not the newest"
        return {**ended, "asked": provider_was_asked, "outcome": outcome}

    async def _works(self, token: str) -> bool:
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.get(
                f"{self.ada.provider.url}/api/x", headers={"authorization": f"Bearer {token}"}
            )
        return answer.status_code == 200


@pytest.fixture
def killing(
    app: FastAPI, ada: Person, processes: Processes, advance: Callable[[timedelta], None]
) -> Killing:
    return Killing(app, ada, processes, advance)


async def test_killed_at_these_points_it_recovers_or_asks_to_reconnect(killing: Killing) -> None:
    for point, (asked, stored) in POINTS.items():
        found = await killing.kill(point)
        assert found["killed"], f"no line of the refresh has {point!r}"
        assert found["asked"] == asked, point
        if not asked:
            assert found["outcome"] != "reconnect", point
        if stored:
            assert found["outcome"] == "stored", point
        if asked and not stored:
            assert found["outcome"] == "reconnect", point


@pytest.mark.nightly
async def test_killed_at_every_line(killing: Killing) -> None:
    whole = await killing.kill(None)
    assert not whole["killed"]
    assert whole["outcome"] == "stored"
    assert whole["lines"] > 60
    outcomes = []
    for at in range(1, whole["lines"] + 1):
        found = await killing.kill(at)
        outcomes.append(found["outcome"])
        # How many pieces the answer arrives in is the network's matter.
        assert found["killed"] or at > whole["lines"] - 10
    assert {"again", "reconnect", "stored"} == set(outcomes)
