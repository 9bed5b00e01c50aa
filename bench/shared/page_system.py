"""A system for benchmarks of the page: the real management server with the built page.

Its agents are the checked double of the agent server (`ocmt_testing.management.agent_server`),
whose conversations can be of any length and whose answers come at any rate.
"""

import asyncio
import base64
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from ocmt_cli.up.page import build_page, page_folder
from ocmt_testing.management.agent_server import TOKEN, FakeAgentServer, running_agent_server
from ocmt_testing.management.gateway import FakeGateway
from ocmt_testing.ports import free_ports

_USER = "bench@example.com"


@dataclass(frozen=True)
class PageSystem:
    """A running system. `url` is the page's address."""

    url: str
    agents: FakeAgentServer
    environment: dict[str, str]

    async def sign_in_link(self) -> str:
        """A link that signs in the benchmark's user, once, in any browser."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ocmt_management", "sign-in-link", "--email", _USER,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said = (await child.communicate())[0].decode()
        return next(word for word in said.split() if "#" in word)

    @property
    def gateway(self) -> FakeGateway:
        """The gateway of the only user, who has signed in."""
        [user_id] = self.agents.containers
        return self.agents.gateways[user_id]


def conversation(count: int) -> list[dict[str, Any]]:
    """The rows of a transcript with `count` messages of several lengths, as OpenClaw stores it."""
    return [
        {
            "role": "assistant" if number % 2 else "user",
            "content": [{"type": "text", "text": _text(number)}],
            "timestamp": 1_795_000_000_000 + number * 1000,
            "__openclaw": {"id": f"row-{number}"},
        }
        for number in range(count)
    ]


def _text(number: int) -> str:
    if number % 2 == 0:
        return f"Message {number}: what about the next step?"
    paragraphs = f"**Bold** words, `code` and a [link](https://example.org/{number}).\n\n"
    code = "```python\nfor one in range(10):\n    print(one)\n```\n\n"
    return f"Message {number}. {paragraphs * (number % 7 + 1)}{code if number % 10 == 1 else ''}"


@contextlib.asynccontextmanager
async def page_system() -> AsyncIterator[PageSystem]:
    """Build the page and run the system during the block. Raises `RuntimeError`."""
    await asyncio.to_thread(build_page)
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    async with running_agent_server() as agents:
        with tempfile.TemporaryDirectory(prefix="ocmt-bench-page-") as folder:
            environment = {
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "DATA_DIR": f"{folder}/management",
                "PORT": str(port),
                "BASE_URL": url,
                "UI_DIR": str(page_folder()),
                "AGENT_SERVER_URL": agents.server.url,
                "AGENT_AUTH_TOKEN": TOKEN,
                "JWT_SECRET": secrets.token_urlsafe(48),
                "VAULT_KEY": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            }
            log = Path(folder, "log")
            child = _start(environment, log)
            try:
                await _up(url, child, log)
                yield PageSystem(url, agents, environment)
            finally:
                child.terminate()
                await asyncio.to_thread(child.wait, 60)


def _start(environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "ocmt_management"], env=environment, stdout=file, stderr=file
        )


async def _up(url: str, child: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline and child.poll() is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/health") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
    said = await asyncio.to_thread(log.read_text)
    raise RuntimeError(f"the management server did not start:\n{said[-2000:]}")
