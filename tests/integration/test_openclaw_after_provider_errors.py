"""The real OpenClaw answers the next message after each of a provider's errors.

It stands before the model gateway's forwarding with a provider of ours behind, which refuses one
message and answers the next.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
import pytest_asyncio
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_common.agent_api import AgentModel, ModelApi
from ocmt_management.clock import utc_now
from ocmt_management.llm.last_errors import LastErrors
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.providers import Shape
from ocmt_management.llm.upstream import Outcome, UpstreamRequest, UpstreamResponse
from ocmt_management.no_cookies import no_cookies
from ocmt_management.vault.secret_value import SecretValue
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary
from ocmt_testing.agent_server.real_gateway import boot, spec_of
from ocmt_testing.management.provider import anthropic_chunks, openai_chunks, responses_chunks
from ocmt_testing.management.provider_refusals import REFUSALS, Refusal
from ocmt_testing.management.serving import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = spec_of("ada")
KEY = "sk-adas-own-key-0123456789"
GOOD = [
    b'data: {"choices":[{"index":0,"delta":{"content":"I am here."}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    *openai_chunks()[-2:],
]
# OpenClaw repeats the others by itself, as it should.
FINAL = [one for one in REFUSALS if one.code not in ("provider-limits", "provider-trouble")]
# One of each kind of status and cause; the whole list takes a quarter of an hour.
CHOSEN = [*{(one.status, one.code): one for one in FINAL}.values()]
assert len(CHOSEN) >= 12


GOOD_IN = {
    Shape.OPENAI: GOOD,
    Shape.ANTHROPIC: anthropic_chunks("I am here."),
    Shape.RESPONSES: responses_chunks("I am here."),
}
TOO_LOW = {"type": "invalid_request_error", "message": "Your credit balance is too low"}
UNPAID = json.dumps({"type": "error", "error": TOO_LOW})
QUOTA = {"code": "insufficient_quota", "message": "You exceeded your current quota"}
UNPAID_EVENT = json.dumps(
    {"type": "response.failed", "response": {"id": "r", "status": "failed", "error": QUOTA}}
)
_RELOADED = "config hot reload applied"


@dataclass
class World:
    runtime: ProcessRuntime
    access: GatewayAccess
    session: aiohttp.ClientSession
    refusal: Refusal | None = None
    breaks_off: bool = False
    asked: int = 0
    shape: Shape | None = None
    """The shape of the last request."""
    body: dict[str, Any] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    async def change(self, model: AgentModel) -> None:
        """Return once the gateway has read the shape of its model."""
        before = await self._reloads()
        await self.runtime.set_model("ada", model)
        async with asyncio.timeout(30):
            while await self._reloads() == before:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.1)

    async def _reloads(self) -> int:
        return (await self.runtime.logs("ada", lines=2000)).count(_RELOADED)

    async def say(self, text: str) -> tuple[int, str]:
        """Send the agent a message; the status and the text of its answer."""
        async with self.session.post(
            f"{self.access.endpoint.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {self.access.gateway_token}"},
            json={
                "model": "openclaw",
                "user": "ada",
                "messages": [{"role": "user", "content": text}],
            },
            timeout=aiohttp.ClientTimeout(180),
        ) as answer:
            return answer.status, await answer.text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    found: list[World] = []
    errors = LastErrors(utc_now)

    async def provider(request: Request) -> Response:
        world = found[0]
        world.body = json.loads(await request.body())
        world.asked += 1
        refusal = world.refusal
        if world.breaks_off:
            return StreamingResponse(iter(GOOD[:1]), media_type="text/event-stream")
        good = GOOD_IN[world.shape or Shape.OPENAI]
        if refusal is None:
            return StreamingResponse(iter(good), media_type="text/event-stream")
        if refusal.status is not None:
            return Response(refusal.body, refusal.status, media_type="application/json")
        events = iter([good[0], f"data: {refusal.body}\n\n".encode()])
        return StreamingResponse(events, media_type="text/event-stream")

    async def llm(request: Request) -> Response:
        if request.method == "GET":
            return Response(json.dumps({"object": "list", "data": [{"id": "default"}]}))

        def done(outcome: Outcome) -> None:
            found[0].outcomes.append(outcome)
            if outcome.error is None:
                errors.forget("ada")
            else:
                errors.record("ada", outcome.error)

        shape = found[0].shape = Shape(request.path_params["path"].removeprefix("v1/"))
        order = UpstreamRequest(
            shape=shape, provider="OpenAI", model="gpt-x", url=f"{there.url}/v1",
            setting="OPENAI_BASE_URL", headers={}, access=Access(SecretValue(KEY)),
            body=await request.body(), final=errors.just_unanswered("ada"),
        )  # fmt: skip
        return UpstreamResponse(http, order, done=done)

    routes: list[Any] = [Route("/llm/{path:path}", llm, methods=["GET", "POST"])]
    async with (
        serving(Starlette(routes=[Route("/v1", provider, methods=["POST"])])) as there,
        serving(Starlette(routes=routes)) as here,
        httpx2.AsyncClient(cookies=no_cookies(), trust_env=False, timeout=60) as http,
        aiohttp.ClientSession() as session,
    ):
        runtime = ProcessRuntime(
            node=node_binary(),
            openclaw_dir=installed_openclaw(),
            state_root=Path(tmp_path_factory.mktemp("agents")),
            limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
            relay_host="127.0.0.1",
            relay_port=int(here.url.rpartition(":")[2]),
        )
        try:
            found.append(World(runtime, await boot(runtime, SPEC, session), session))
            status, text = await found[0].say("hello")
            assert status == 200, text
            yield found[0]
        finally:
            await runtime.remove("ada", with_state=True)
            await runtime.close()


@pytest.mark.parametrize("refusal", CHOSEN, ids=lambda one: f"{one.status} {one.code}")
async def test_the_next_message_is_answered(world: World, refusal: Refusal) -> None:
    world.refusal, world.asked, begun = refusal, 0, time.monotonic()
    await world.say("hello again")
    took_s = time.monotonic() - begun
    asked = world.asked
    error = world.outcomes[-1].error
    world.refusal = None

    status, text = await world.say("and now?")

    assert status == 200, text
    assert "I am here." in text
    assert error is not None
    assert error.code == refusal.code
    assert asked <= 2, "it was repeated"
    assert took_s < 30


async def test_an_answer_that_breaks_off_again_is_given_up(world: World) -> None:
    world.breaks_off, world.asked, begun = True, 0, time.monotonic()
    await world.say("tell me more")
    took_s, asked = time.monotonic() - begun, world.asked
    world.breaks_off = False

    status, text = await world.say("and now?")

    assert (status, "I am here." in text) == (200, True)
    assert 2 <= asked <= 3
    assert took_s < 30  # it was eight requests in 90 seconds


async def test_the_shape_follows_a_change_of_the_model_without_a_restart(world: World) -> None:
    before = await world.runtime.inspect("ada")
    flows = (
        (
            AgentModel(api=ModelApi.MESSAGES, name="claude-opus-5", reasoning=True, images=True),
            Shape.ANTHROPIC,
            Refusal(400, UNPAID, "provider-unpaid"),
        ),
        (
            AgentModel(api=ModelApi.RESPONSES, name="gpt-5.5", reasoning=True),
            Shape.RESPONSES,
            Refusal(None, UNPAID_EVENT, "provider-unpaid"),
        ),
        (AgentModel(), Shape.OPENAI, FINAL[0]),
    )
    for model, shape, refusal in flows:
        await world.change(model)
        status, text = await world.say(f"are you there, {shape}?")
        assert (status, "I am here." in text) == (200, True), text
        assert world.shape is shape
        if shape is Shape.ANTHROPIC:
            assert world.body["thinking"]["type"] == "adaptive"
            assert "cache_control" in json.dumps(world.body["system"])
            assert world.body["max_tokens"] == 32_000
        if shape is Shape.RESPONSES:
            assert world.body["reasoning"]["effort"] == "medium"
            assert world.body["include"] == ["reasoning.encrypted_content"]

        world.refusal, world.asked = refusal, 0
        await world.say("and once more?")
        world.refusal = None
        assert world.asked == 1, "it was repeated"
        error = world.outcomes[-1].error
        assert error is not None
        assert error.code == refusal.code

        status, text = await world.say("and now?")
        assert (status, "I am here." in text) == (200, True), text
    assert await world.runtime.inspect("ada") == before
