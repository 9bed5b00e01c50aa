"""What the model gateway costs: direct, through `/llm`, through a plain proxy; all in one run.

The gateway looks up the agent's token, reads the user's key from the vault, sets the user's model
in a request of 60 KB (OpenClaw's usual size), and counts the tokens used. The peer is a reverse
proxy on the same libraries (Starlette, httpx2) that does none of this. Every target is measured in
each round, so that a busy machine affects all alike; a figure is the median over the rounds. All on
loopback, each server in a process of its own. Run: `python bench/llm.py --json`.

With `--litellm PROGRAM`, LiteLLM's proxy with one worker is measured, too. It needs an environment
of its own: `python -m venv x && x/bin/pip install 'litellm[proxy]'`; then it is `x/bin/litellm`.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import uvicorn
from aiohttp import web
from ocmt_common.settings import load
from ocmt_management.agents.models import Stage
from ocmt_management.agents.repository import AgentRepository
from ocmt_management.auth.models import Role, Status, User
from ocmt_management.clock import utc_now
from ocmt_management.db import Database
from ocmt_management.llm.choice import UserModelChoice
from ocmt_management.llm.schemas import ModelRequest
from ocmt_management.migrations import migrate
from ocmt_management.settings import ManagementSettings
from ocmt_management.tokens import token_hash
from ocmt_management.vault.keys import KeyRing
from ocmt_testing.ports import free_ports
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

CHUNKS = 400
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":" some words"},"finish_reason":null}]}\n\n'
)
LAST = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":9}}\n\ndata: [DONE]\n\n'
BODY = {
    "model": "default",
    "messages": [
        {"role": "system", "content": "You are helpful. " * 2400},
        {"role": "user", "content": "hello"},
    ],
    "tools": [{"type": "function", "function": {"name": f"t{n}"}} for n in range(300)],
    "max_completion_tokens": 8192,
}

# -- the servers, one process each -------------------------------------------------------------


async def serve_upstream(port: int) -> None:
    """Serve a provider that does no work, so that the measured time is the gateway's."""

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not body.get("stream"):
            return web.json_response({"choices": [], "usage": {"prompt_tokens": 9}})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(CHUNK)
        await asyncio.sleep(0.005)  # so that the first chunk is sent alone
        for _ in range(body.get("n", 1)):
            await answer.write(CHUNK)
        await answer.write(LAST)
        return answer

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def serve_peer(port: int, upstream: str) -> None:
    client = httpx2.AsyncClient(timeout=60, trust_env=False)

    async def forward(request: Request) -> Response:
        ask = client.build_request(
            "POST",
            f"{upstream}/chat/completions",
            content=await request.body(),
            headers={"content-type": "application/json", "accept-encoding": "identity"},
        )
        answer = await client.send(ask, stream=True)
        return StreamingResponse(
            answer.aiter_raw(),
            media_type=answer.headers["content-type"],
            background=BackgroundTask(answer.aclose),
        )

    app = Starlette(routes=[Route("/llm/v1/chat/completions", forward, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def litellm_config(upstream: int, master_key: str) -> str:
    """LiteLLM's configuration, which is also JSON. It does not start without a master key."""
    to_upstream = {
        "model": "openai/m",
        "api_base": f"http://127.0.0.1:{upstream}/v1",
        "api_key": "sk-x",
    }
    models = [{"model_name": "default", "litellm_params": to_upstream}]
    return json.dumps(
        {
            "model_list": models,
            "litellm_settings": {"telemetry": False},
            "general_settings": {"master_key": master_key},
        }
    )


async def furnish(environment: dict[str, str], token: str) -> None:
    """Create a user with an agent, a model and a key."""
    settings = load(ManagementSettings, environ=environment)
    await migrate(settings.database)
    database = Database(settings.database)
    async with database.write() as session:
        now = utc_now()
        session.add(
            User(id="u", email="u@x.io", role=Role.MEMBER, status=Status.ACTIVE, created_at=now)
        )
        await session.flush()
        agents = AgentRepository(session)
        await agents.begin("u", token_hash(token), now)
        await session.flush()
        await agents.finish("u", token_hash(token), Stage.READY, failure=None, now=now)
        models = UserModelChoice(session, KeyRing(settings.vault_keys), utc_now, "u")
        choice = {"provider": "openai", "model": "m", "key": "sk-" + secrets.token_hex(20)}
        await models.choose(ModelRequest.model_validate(choice))
    await database.close()


@contextlib.contextmanager
def process(*command: str, environment: dict[str, str] | None = None) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            running.terminate()
            running.wait()


# -- measuring ---------------------------------------------------------------------------------


@dataclass
class Target:
    name: str
    url: str
    headers: dict[str, str]


async def first_byte_ms(session: aiohttp.ClientSession, target: Target, times: int) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        async with session.post(
            target.url, json={**BODY, "stream": True}, headers=target.headers
        ) as answer:
            assert answer.status == 200, await answer.text()
            await answer.content.readany()
            taken.append(time.perf_counter() - started)
            await answer.read()
    return statistics.median(taken) * 1000


async def streams_mb_per_s(session: aiohttp.ClientSession, target: Target, times: int) -> float:
    async def one() -> int:
        body = {**BODY, "stream": True, "n": CHUNKS}
        async with session.post(target.url, json=body, headers=target.headers) as answer:
            assert answer.status == 200, await answer.text()
            return len(await answer.read())

    started = time.perf_counter()
    read = sum([sum(await asyncio.gather(*(one() for _ in range(8)))) for _ in range(times)])
    return read / (time.perf_counter() - started) / 1e6


async def requests_per_s(session: aiohttp.ClientSession, target: Target, times: int) -> float:
    async def one() -> None:
        async with session.post(target.url, json=BODY, headers=target.headers) as answer:
            await answer.read()
            assert answer.status == 200, await answer.text()

    started = time.perf_counter()
    for _ in range(times):
        await asyncio.gather(*(one() for _ in range(8)))
    return times * 8 / (time.perf_counter() - started)


async def measure(targets: list[Target], rounds: int) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, list[float]]] = {t.name: {} for t in targets}
    async with aiohttp.ClientSession(trust_env=False) as session:
        for target in targets:
            await until_up(session, target)
        for _ in range(rounds):
            for target in targets:
                took = {
                    "first byte, p50 ms": await first_byte_ms(session, target, 60),
                    "streams, MB/s": await streams_mb_per_s(session, target, 10),
                    "whole answers, per s": await requests_per_s(session, target, 30),
                }
                for what, figure in took.items():
                    figures[target.name].setdefault(what, []).append(figure)
    return {
        name: {what: round(statistics.median(all_), 2) for what, all_ in found.items()}
        for name, found in figures.items()
    }


async def until_up(session: aiohttp.ClientSession, target: Target) -> None:
    async with asyncio.timeout(60):  # LiteLLM imports for long
        while True:
            try:
                async with session.post(target.url, json=BODY, headers=target.headers) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def run(rounds: int, litellm: str | None) -> dict[str, Any]:
    token = secrets.token_urlsafe(32)
    upstream, ours, peer, litellm_port = free_ports(4)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        environment = {
            "DATA_DIR": str(Path(folder) / "data"),
            "JWT_SECRET": secrets.token_urlsafe(48),
            "VAULT_KEY": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "AGENT_AUTH_TOKEN": secrets.token_urlsafe(48),
            "AGENT_SERVER_URL": "http://127.0.0.1:9",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
            "PORT": str(ours),
        }
        await furnish(environment, token)
        python, here = sys.executable, str(Path(__file__))
        stack.enter_context(process(python, here, "--serve-upstream", str(upstream)))
        stack.enter_context(process(python, here, "--serve-peer", f"{peer}:{upstream}"))
        stack.enter_context(process(python, "-m", "ocmt_management", environment=environment))
        bearer = {"authorization": f"Bearer {token}"}
        base = "http://127.0.0.1:{}/{}v1/chat/completions"
        targets = [
            Target("direct", base.format(upstream, ""), {}),
            Target("ours", base.format(ours, "llm/"), bearer),
            Target("plain httpx2 proxy", base.format(peer, "llm/"), {}),
        ]
        if litellm is not None:
            config = Path(folder) / "litellm.yaml"
            master_key = f"sk-{secrets.token_hex(32)}"
            config.write_text(litellm_config(upstream, master_key))
            command = (litellm, "--config", str(config), "--host", "127.0.0.1")
            stack.enter_context(process(*command, "--port", str(litellm_port)))
            to_litellm = {"authorization": f"Bearer {master_key}"}
            targets.append(Target("LiteLLM", base.format(litellm_port, ""), to_litellm))
        figures = await measure(targets, rounds)
    ours_, peer_, direct = figures["ours"], figures["plain httpx2 proxy"], figures["direct"]
    ratios = {
        what: {
            "ours / direct": round(ours_[what] / direct[what], 2),
            "ours / peer": round(ours_[what] / peer_[what], 2),
        }
        for what in direct
    }
    return {"rounds": rounds, "figures": figures, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print raw figures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--litellm", metavar="PROGRAM", help="measure LiteLLM's proxy, too")
    parser.add_argument("--serve-upstream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve-peer", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve_upstream:
        asyncio.run(serve_upstream(chosen.serve_upstream))
    elif chosen.serve_peer:
        port, upstream = chosen.serve_peer.split(":")
        serve_peer(int(port), f"http://127.0.0.1:{upstream}/v1")
    else:
        result = asyncio.run(run(chosen.rounds, chosen.litellm))
        print(json.dumps(result, indent=2) if chosen.json else table(result))


def table(result: dict[str, Any]) -> str:
    names = list(result["figures"])
    lines = [f"{'':24}" + "".join(f"{name:>20}" for name in names)]
    for what in result["ratios"]:
        cells = "".join(f"{result['figures'][name][what]:>20}" for name in names)
        lines.append(f"{what:24}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
