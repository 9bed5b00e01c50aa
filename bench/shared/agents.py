"""Real agents for benchmarks, and Docker's API for comparison.

The agent server runs on this machine's Docker, with a model that answers at once.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from ocmt_cli.ports import holder, is_free
from ocmt_common.container_names import USER_LABEL, instance_label
from ocmt_common.user_ids import HOME_PREFIX

ROOT = Path(__file__).parents[2]
DOCKER = "/var/run/docker.sock"
GATEWAY_PORT = 18789
_BUSY_S = 90.0
_WRITTEN_WITHIN_S = 20.0
"""Seconds in which a paused agent's gigabyte is written to swap."""
_CLOSED_WITHIN_S = 1.0
"""Seconds for a resumed server to close connections that were idle for too long."""


def summary(seconds: list[float]) -> dict[str, float]:
    """Statistics of at least one duration, in milliseconds. `p95` of few samples is `max`."""
    ordered = [value * 1000 for value in sorted(seconds)]
    last = len(ordered) - 1

    def at(share: float) -> float:
        return round(ordered[min(last, int(len(ordered) * share))], 1)

    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": at(1)}


def meminfo() -> dict[str, int]:
    """/proc/meminfo by the kernel's names, its sizes in bytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def zram_bytes() -> int:
    """RAM that all zram devices take for their content."""
    stats = Path("/sys/block").glob("zram*/mm_stat")
    return sum(int(stat.read_text(encoding="ascii").split()[2]) for stat in stats)


def machine() -> str:
    release = os.uname().release
    return f"{os.cpu_count()} cores, {meminfo()['MemTotal'] / 1e9:.0f} GB RAM, Linux {release}"


class Agents:
    """An agent server for benchmarks, and operations on its agents."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        docker: "Docker",
        child: "subprocess.Popen[bytes]",
    ) -> None:
        self._url = url
        self._session = session
        self._child = child
        self.docker = docker
        self.users: list[str] = []

    async def provision(self, user: str) -> None:
        self.users.append(user)
        body = {"userId": user, "agentToken": secrets.token_urlsafe(24)}
        await self._call("POST", "/api/containers", body)

    async def spare_ready(self, *, held: bool, within_s: float = 1200.0) -> None:
        """Wait until a spare is ready, and its memory was written to swap.

        `held`: one for stopped agents. One is made only on a quiet host, so it takes minutes.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            spares = (await self.health())["spares"]
            found = spares["held"] if held else spares
            if found["ready"] > 0:
                await asyncio.sleep(_WRITTEN_WITHIN_S)
                return
            await asyncio.sleep(1)
        raise TimeoutError(f"no spare was made within {within_s:g} s: {found}")

    async def remove(self, user: str) -> None:
        with contextlib.suppress(aiohttp.ClientError, Refused):
            await self._call("DELETE", f"/api/containers/{user}?state=delete")
        self.users.remove(user)

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Suspend the agent server's process during the block (SIGSTOP).

        It handles its containers' events after that.
        """
        self._child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._child.send_signal(signal.SIGCONT)
            await asyncio.sleep(_CLOSED_WITHIN_S)

    async def container(self, user: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("GET", f"/api/containers/{user}")
        return found

    async def docker_id(self, user: str) -> str:
        """Docker's id of the user's container, which must exist."""
        return await self.docker.of((await self.container(user))["home"])

    async def health(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("GET", "/health")
        return found

    async def sleep(self, user: str, mode: str) -> None:
        """Hibernate an agent, retrying for `_BUSY_S` seconds while its gateway is busy.

        Raises `Refused` after that, or for another refusal.
        """
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                await self._call("POST", f"/api/containers/{user}/hibernate", {"mode": mode})
                return
            except Refused as refused:
                if refused.status != 409 or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(1)

    async def settled(self, user: str, *, within_s: float = 30.0) -> str:
        """Wait until a paused agent's memory is reclaimed, at most `within_s` seconds.

        Returns where it is: `reclaimed` or `resident`. Does not wait on a host without swap.
        """
        if meminfo()["SwapTotal"] == 0:  # there is no swap
            return "resident"
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            where = (await self.container(user)).get("pausedMemory")
            if where == "reclaimed":
                return "reclaimed"
            await asyncio.sleep(0.25)
        return "resident"

    async def first_byte(self, user: str) -> float:
        """Seconds from sending `GET /healthz` through the proxy to the first byte of its answer."""
        started = time.perf_counter()
        async with self._session.get(f"{self._proxy(user)}/healthz") as answer:
            await answer.content.readany()
            took = time.perf_counter() - started
            assert answer.status == 200, await answer.text()
        return took

    async def chat(self, user: str) -> float:
        """Seconds from sending a message to the first token of the streamed reply."""
        started = time.perf_counter()
        return await first_token(self._session, f"{self._proxy(user)}/v1/chat/completions", started)

    def _proxy(self, user: str) -> str:
        return f"{self._url}/api/containers/{user}/proxy"

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        async with self._session.request(method, self._url + path, json=body) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise Refused(answer.status, text)
            return json.loads(text) if text else None


class Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


async def first_token(
    session: aiohttp.ClientSession,
    url: str,
    started: float,
    headers: dict[str, str] | None = None,
) -> float:
    """Seconds from `started` to the first token of a streamed reply.

    Reads the stream to its end, so that its work does not affect the next measurement.
    """
    body = {
        "model": "openclaw",
        "user": "bench",
        "stream": True,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    took: float | None = None
    async with session.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            delta = json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"]
            if delta.get("content") and took is None:
                took = time.perf_counter() - started
    assert took is not None, "the reply had no text"
    return took


class Docker:
    """A minimal client of Docker's API, for what the Engine alone takes. Raises `Refused`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def of(self, home: str) -> str:
        """The id of the container of the agent with this home, which must exist."""
        filters = json.dumps({"label": [f"{USER_LABEL}={home}"]})
        found = await self._call("GET", "/containers/json", params={"all": "1", "filters": filters})
        return str(found[0]["Id"])

    async def spares(self) -> set[str]:
        """The ids of all paused containers that were made for spares, also if claimed since."""
        filters = json.dumps({"label": [USER_LABEL], "status": ["paused"]})
        found = await self._call("GET", "/containers/json", params={"all": "1", "filters": filters})
        return {str(c["Id"]) for c in found if c["Labels"][USER_LABEL].startswith(HOME_PREFIX)}

    async def address(self, container: str) -> str:
        shown = await self._call("GET", f"/containers/{container}/json")
        networks = shown["NetworkSettings"]["Networks"].values()
        address = next(n["IPAddress"] for n in networks if n["IPAddress"])
        return f"http://{address}:{GATEWAY_PORT}"

    async def gateway_token(self, container: str) -> str:
        """The token of the container's gateway, from its environment."""
        shown = await self._call("GET", f"/containers/{container}/json")
        pairs = dict(entry.split("=", 1) for entry in shown["Config"]["Env"])
        return str(pairs["OPENCLAW_GATEWAY_TOKEN"])

    async def act(self, container: str, verb: str) -> None:
        """Call a container's action, such as `pause` or `stop?t=20`."""
        await self._call("POST", f"/containers/{container}/{verb}")

    async def remove(self, container: str) -> None:
        await self._call("DELETE", f"/containers/{container}", params={"force": "1"})

    async def remove_all(self, agents: Path) -> None:
        """Remove the containers of an agent server that has ended: those of spares."""
        filters = json.dumps({"label": [instance_label(agents)]})
        for one in await self._call(
            "GET", "/containers/json", params={"all": "1", "filters": filters}
        ):
            await self.remove(str(one["Id"]))

    async def rss(self, container: str) -> int:
        """Bytes of anonymous memory in RAM, from the Engine's stats."""
        query = {"stream": "0", "one-shot": "1"}
        stats = await self._call("GET", f"/containers/{container}/stats", params=query)
        details = stats["memory_stats"]["stats"]
        return int(details.get("total_rss", details.get("anon", 0)))

    async def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        async with self._session.request(method, f"http://docker{path}", **kwargs) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise Refused(answer.status, text)
            return json.loads(text) if text.strip() else None


async def until(answers: Callable[[], Awaitable[bool]], *, within_s: float = 90.0) -> None:
    deadline = time.monotonic() + within_s
    while not await answers():
        if time.monotonic() > deadline:
            raise TimeoutError("the gateway did not answer")
        await asyncio.sleep(0.005)


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            await answer.read()
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@contextlib.asynccontextmanager
async def instant_model(port: int) -> AsyncIterator[None]:
    """A double of management's model gateway that answers at once."""

    async def complete(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        base = {"id": "bench", "created": 0, "model": "default"}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "Hello there."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response(base | {"object": "chat.completion", "choices": [choice]})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for delta, reason in (
            ({"role": "assistant", "content": "Hello there."}, None),
            ({}, "stop"),
        ):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            chunk = base | {"object": "chat.completion.chunk", "choices": [choice]}
            await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await answer.write(b"data: [DONE]\n\n")
        return answer

    app = web.Application(client_max_size=64 << 20)
    app.add_routes([web.post("/llm/v1/chat/completions", complete)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def server(port: int, **settings: str) -> AsyncIterator[Agents]:
    """Run an agent server on `port`, with its relay and the model on the next two ports.

    Removes its agents at the end. `settings` are additional settings in upper case. If a port is
    taken, the benchmark exits and names its holder. Raises `RuntimeError` if the server does not
    start.
    """
    for one in (port, port + 1, port + 2):
        if not is_free(one):
            sys.exit(
                f"Port {one} is taken by {holder(one) or 'a program'}: stop it, or use --port."
            )
    token = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="ocmt-bench-") as folder:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "AUTH_TOKEN": token,
            "DATA_DIR": f"{folder}/agent",
            "PORT": str(port),
            "RELAY_PORT": str(port + 1),
            "MANAGEMENT_URL": f"http://127.0.0.1:{port + 2}",
            "RUNTIME": "docker",
            # Agents do not fall asleep during a measurement, and no spare boots beside it.
            "PAUSE_AFTER_MS": str(24 * 3600 * 1000),
            "SPARE_AGENTS": "0",
            **settings,
        }
        child = _start(environment, Path(folder, "log"))
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(instant_model(port + 2))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    headers={"x-auth-token": token},
                    timeout=aiohttp.ClientTimeout(total=180),
                )
            )
            docker = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(DOCKER),
                    timeout=aiohttp.ClientTimeout(total=120),
                )
            )
            agents = Agents(f"http://127.0.0.1:{port}", session, Docker(docker), child)
            try:
                await _up(agents, child, Path(folder, "log"))
                yield agents
            finally:
                for user in list(agents.users):
                    await agents.remove(user)
                child.terminate()
                child.wait(60)
                await agents.docker.remove_all(Path(folder, "agent", "agents"))


def _start(environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "ocmt_agent"], env=environment, stdout=file, stderr=file
        )


async def _up(agents: Agents, child: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(aiohttp.ClientError):
            await agents.health()
            return
        await asyncio.sleep(0.2)
    said = await asyncio.to_thread(log.read_text)
    raise RuntimeError(f"the agent server did not start:\n{said[-2000:]}")
