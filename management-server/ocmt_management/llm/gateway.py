"""`/llm`: the address an agent knows as its model's.

An agent knows one model, `default`. Which provider and model that is, and with which key, is the
user's choice and looked up for every request, so that a change works at once and no container
holds a key.
"""

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import APIRouter
from msgspec import Raw
from ocmt_common import bounded_json
from ocmt_common.problems import Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ocmt_management.dependencies import Parts, Server
from ocmt_management.llm import errors as refusals
from ocmt_management.llm.caller_cache import Caller
from ocmt_management.llm.choice import Models
from ocmt_management.llm.concurrency import Place
from ocmt_management.llm.demo_shapes import DemoAnswer
from ocmt_management.llm.errors import Refusal
from ocmt_management.llm.models import MODEL_CHARACTERS, MODEL_PATTERN
from ocmt_management.llm.providers import DEMO_MODEL, ProviderId, Shape, credentials
from ocmt_management.llm.upstream import Exchange, Order, Outcome, Streamed
from ocmt_management.vault.secret_value import SecretValue

router = APIRouter(prefix="/llm/v1")

_STAND_INS = frozenset({"default", "ocmt/default"})
_CLIENT_LEFT = 499
"""For the log alone; nginx's."""
_ANTHROPIC_VERSION = "2023-06-01"
_MODEL = re.compile(MODEL_PATTERN)


@router.post("/chat/completions")
async def chat_completions(request: Request, server: Server) -> Response:
    return await _answer(Shape.OPENAI, request, server)


@router.post("/messages")
async def messages(request: Request, server: Server) -> Response:
    return await _answer(Shape.ANTHROPIC, request, server)


@router.get("/models")
async def list_models(request: Request, server: Server) -> Response:
    try:
        await _caller(request, server)
    except Problem as problem:
        return _refused(problem, Shape.OPENAI)
    model = {"id": "default", "object": "model", "created": 0, "owned_by": "ocmt"}
    return JSONResponse({"object": "list", "data": [model]})


async def _answer(shape: Shape, request: Request, server: Parts) -> Response:
    try:
        caller = await _caller(request, server)
        request.scope[USER_IN_SCOPE] = caller.user_id
        with server.llm.at_once.another(caller.user_id) as place:
            body = _understood(await _received(request, place))
            if caller.chosen.demo:
                return place.until_answered(_demo(shape, body, caller, server))
            return place.until_answered(_provider(shape, body, request, server, caller))
    except Problem as problem:
        return _refused(problem, shape)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_LEFT)


def _refused(problem: Problem, shape: Shape) -> Response:
    refusal = problem if isinstance(problem, Refusal) else refusals.of_problem(problem)
    return refusal.in_shape(shape).response()


async def _caller(request: Request, server: Parts) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")

    async def look_up() -> Caller | None:
        async with server.database.read() as session:
            user_id = await server.agents.user_of(session, token)
            if user_id is None:
                return None
            models = Models(session, server.keys, server.clock, user_id)
            chosen = await models.chosen()
            return Caller(user_id, chosen, None if chosen.demo else await models.key(chosen))

    caller = await server.llm.callers.find(token, look_up) if scheme.lower() == "bearer" else None
    if caller is None:
        raise refusals.not_an_agent()
    return caller


@dataclass(frozen=True, slots=True)
class _Body:
    """A request of an agent: what is looked at, and all of it as it was written."""

    members: dict[str, Raw]
    model: str
    stream: bool


async def _received(request: Request, place: Place) -> bytes:
    chunks: list[bytes] = []
    async for chunk in request.stream():
        place.hold(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _understood(received: bytes) -> _Body:
    """The messages stay unparsed: they are large, the agent's, and the provider's to read."""
    try:
        members = bounded_json.members(received)
        model = bounded_json.read(members["model"]) if "model" in members else "default"
    except bounded_json.NotJson as error:
        raise refusals.bad_request("not-json", f"Send one JSON object ({error}).") from error
    if bytes(memoryview(members.get("messages", b""))[:1]) != b"[":
        raise refusals.bad_request("no-messages", "Send a JSON object with a list of messages.")
    if not isinstance(model, str) or len(model) > MODEL_CHARACTERS or not _MODEL.fullmatch(model):
        raise refusals.bad_request("no-model", "Name the model in plain text, such as `default`.")
    return _Body(members, model, stream=bytes(members.get("stream", b"")) == b"true")


def _demo(shape: Shape, body: _Body, caller: Caller, server: Parts) -> Response:
    try:
        read: dict[str, Any] = {
            name: bounded_json.read(body.members[name])
            for name in ("messages", "system")
            if name in body.members
        }
    except bounded_json.NotJson as error:
        raise refusals.bad_request(
            "demo-cannot-read",
            f"The demo model cannot read this conversation ({error}). Begin a new one, or choose "
            "another model in the settings.",
        ) from error
    answer = DemoAnswer.to(
        shape, {**read, "model": body.model}, created_s=int(server.clock().timestamp())
    )
    server.llm.troubles.forget(caller.user_id)

    def done() -> None:
        server.llm.meter.count(
            user_id=caller.user_id,
            provider=ProviderId.DEMO,
            model=DEMO_MODEL,
            tokens=answer.used,
        )

    if body.stream:
        return Streamed(answer.stream(), done=done)
    done()
    return JSONResponse(answer.whole())


def _provider(
    shape: Shape, body: _Body, request: Request, server: Parts, caller: Caller
) -> Response:
    user_id, chosen = caller.user_id, caller.chosen
    url = chosen.provider.url(shape, server.settings)
    if url is None:
        raise refusals.bad_request(
            "shape-unsupported",
            f"{chosen.provider.name} has no Messages API. Ask /llm/v1/chat/completions, or choose "
            "an Anthropic model in the settings.",
        )
    key = caller.key or _no_key(server, caller)
    model = chosen.model if body.model in _STAND_INS else body.model
    changed: dict[str, Any] = {"model": model}
    if shape is Shape.OPENAI and body.stream:
        # Without it a stream does not tell what it used. It adds one chunk without choices.
        changed["stream_options"] = {**_options(body), "include_usage": True}
    order = Order(
        shape=shape,
        provider=chosen.provider.name,
        model=model,
        url=url,
        setting=f"{chosen.provider.id.upper()}_BASE_URL",
        headers=_headers(shape, request, key),
        key=key,
        body=bounded_json.write({**body.members, **changed}),
    )

    def done(outcome: Outcome) -> None:
        if outcome.trouble is None:
            server.llm.troubles.forget(user_id)
        else:
            server.llm.troubles.note(user_id, outcome.trouble)
        server.llm.meter.count(
            user_id=user_id,
            provider=chosen.provider.id,
            # A name that nobody knows is the agent's to make up: it is not kept.
            model=chosen.model if outcome.tokens is None else model,
            tokens=outcome.tokens,
        )

    return Exchange(server.llm.http, order, done=done)


def _options(body: _Body) -> dict[str, Raw]:
    try:
        return bounded_json.members(body.members.get("stream_options", b"{}"))
    except bounded_json.NotJson:
        return {}


def _no_key(server: Parts, caller: Caller) -> NoReturn:
    refusal = refusals.no_key(caller.chosen.provider.name)
    server.llm.troubles.note(caller.user_id, refusals.Trouble(refusal.code, refusal.detail))
    raise refusal


def _headers(shape: Shape, request: Request, key: SecretValue) -> dict[str, str]:
    """The request's headers, made here: nothing of the caller's but what names a version."""
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
        # Plain bytes pass through as they are and can be read on the way.
        "accept-encoding": "identity",
        "user-agent": "ocmt",
        **credentials(shape, key.reveal()),
    }
    if shape is Shape.ANTHROPIC:
        headers["anthropic-version"] = _ANTHROPIC_VERSION
        for name in ("anthropic-version", "anthropic-beta"):
            # Not passed on when it is no plain text: no version has such a name.
            if (value := request.headers.get(name)) and value.isascii():
                headers[name] = value
    return headers
