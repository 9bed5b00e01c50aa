"""`/llm`: the model endpoint of the agents.

An agent knows one model, `default`. The user's choice of provider, model and key is looked up for
every request, so a change works at once and no container holds a key.
"""

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse
from msgspec import Raw
from ocmt_common import bounded_json
from ocmt_common.problems import Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ocmt_management.llm import errors
from ocmt_management.llm.caller_cache import Caller
from ocmt_management.llm.concurrency import RequestSlot
from ocmt_management.llm.demo_shapes import DemoAnswer
from ocmt_management.llm.dependencies import Llm
from ocmt_management.llm.errors import LlmError
from ocmt_management.llm.models import MODEL_CHARACTERS, MODEL_PATTERN
from ocmt_management.llm.providers import DEMO_MODEL, ProviderId, Shape, credentials
from ocmt_management.llm.upstream import (
    UNBUFFERED,
    Outcome,
    UpstreamRequest,
    UpstreamResponse,
)
from ocmt_management.vault.service import SecretValue

router = APIRouter(prefix="/llm/v1")

_DEFAULT_NAMES = frozenset({"default", "ocmt/default"})
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status; only the access log shows it."""
_ANTHROPIC_VERSION = "2023-06-01"
_MODEL = re.compile(MODEL_PATTERN)


@router.post("/chat/completions")
async def chat_completions(request: Request, llm: Llm) -> Response:
    return await _answer(Shape.OPENAI, request, llm)


@router.post("/messages")
async def messages(request: Request, llm: Llm) -> Response:
    return await _answer(Shape.ANTHROPIC, request, llm)


@router.get("/models")
async def list_models(request: Request, llm: Llm) -> Response:
    try:
        await _caller(request, llm)
    except Problem as problem:
        return _error(problem, Shape.OPENAI)
    model = {"id": "default", "object": "model", "created": 0, "owned_by": "ocmt"}
    return JSONResponse({"object": "list", "data": [model]})


async def _answer(shape: Shape, request: Request, llm: Llm) -> Response:
    try:
        caller = await _caller(request, llm)
        request.scope[USER_IN_SCOPE] = caller.user_id
        with llm.request_limits.slot(caller.user_id) as slot:
            body = _parse(await _read(request, slot))
            if caller.chosen.demo:
                return slot.release_after(_from_demo(shape, body, caller, llm))
            return slot.release_after(_from_provider(shape, body, request, llm, caller))
    except Problem as problem:
        return _error(problem, shape)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)


def _error(problem: Problem, shape: Shape) -> Response:
    error = problem if isinstance(problem, LlmError) else errors.of_problem(problem)
    return error.in_shape(shape).response()


async def _caller(request: Request, llm: Llm) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    caller = await llm.caller(token) if scheme.lower() == "bearer" else None
    if caller is None:
        raise errors.not_an_agent()
    return caller


@dataclass(frozen=True, slots=True)
class _Body:
    """A request's body: all members as the agent wrote them, and the two that are read here."""

    members: dict[str, Raw]
    model: str
    stream: bool


async def _read(request: Request, slot: RequestSlot) -> bytes:
    chunks: list[bytes] = []
    async for chunk in request.stream():
        slot.add_bytes(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _parse(body: bytes) -> _Body:
    """Parse the outer object only: the messages are large, untrusted and for the provider."""
    try:
        members = bounded_json.members(body)
        model = bounded_json.read(members["model"]) if "model" in members else "default"
    except bounded_json.NotJson as error:
        raise errors.bad_request("not-json", f"Send one JSON object ({error}).") from error
    if bytes(memoryview(members.get("messages", b""))[:1]) != b"[":
        raise errors.bad_request("no-messages", "Send a JSON object with a list of messages.")
    if not isinstance(model, str) or len(model) > MODEL_CHARACTERS or not _MODEL.fullmatch(model):
        raise errors.bad_request(
            "no-model",
            f"`model` must be 1 to {MODEL_CHARACTERS} printable ASCII characters without spaces, "
            "such as `default`.",
        )
    return _Body(members, model, stream=bytes(members.get("stream", b"")) == b"true")


def _from_demo(shape: Shape, body: _Body, caller: Caller, llm: Llm) -> Response:
    try:
        read: dict[str, Any] = {
            name: bounded_json.read(body.members[name])
            for name in ("messages", "system")
            if name in body.members
        }
    except bounded_json.NotJson as error:
        raise errors.bad_request(
            "demo-cannot-read",
            f"The demo model cannot read this conversation ({error}). Begin a new one, or choose "
            "another model in the settings.",
        ) from error
    answer = DemoAnswer.to(
        shape, {**read, "model": body.model}, created_s=int(llm.clock().timestamp())
    )
    llm.last_errors.forget(caller.user_id)
    llm.usage.record(
        user_id=caller.user_id, provider=ProviderId.DEMO, model=DEMO_MODEL, tokens=answer.used
    )
    if body.stream:
        return EventSourceResponse(answer.stream(), headers=UNBUFFERED)
    return JSONResponse(answer.whole())


def _from_provider(
    shape: Shape, body: _Body, request: Request, llm: Llm, caller: Caller
) -> Response:
    user_id, chosen = caller.user_id, caller.chosen
    url = chosen.provider.url(shape, llm.settings)
    if url is None:
        raise errors.bad_request(
            "shape-unsupported",
            f"{chosen.provider.name} has no Messages API. Use /llm/v1/chat/completions, or choose "
            "an Anthropic model in the settings.",
        )
    key = caller.key or _no_key(llm, caller)
    model = chosen.model if body.model in _DEFAULT_NAMES else body.model
    changed: dict[str, Any] = {"model": model}
    if shape is Shape.OPENAI and body.stream:
        # Without it a stream does not report its usage. It adds one chunk without choices.
        changed["stream_options"] = {**_stream_options(body), "include_usage": True}
    upstream = UpstreamRequest(
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
        if outcome.error is None:
            llm.last_errors.forget(user_id)
        else:
            llm.last_errors.record(user_id, outcome.error)
        llm.usage.record(
            user_id=user_id,
            provider=chosen.provider.id,
            # Without token counts the name may be one that the agent made up: record the choice.
            model=chosen.model if outcome.tokens is None else model,
            tokens=outcome.tokens,
        )

    return UpstreamResponse(llm.http, upstream, done=done)


def _stream_options(body: _Body) -> dict[str, Raw]:
    try:
        return bounded_json.members(body.members.get("stream_options", b"{}"))
    except bounded_json.NotJson:
        return {}


def _no_key(llm: Llm, caller: Caller) -> NoReturn:
    error = errors.no_key(caller.chosen.provider.name)
    llm.last_errors.record(caller.user_id, errors.ModelError(error.code, error.detail))
    raise error


def _headers(shape: Shape, request: Request, key: SecretValue) -> dict[str, str]:
    """The headers of the upstream request; of the agent's, only those that name a version."""
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
        # An uncompressed answer is forwarded unchanged and can be parsed for its usage.
        "accept-encoding": "identity",
        "user-agent": "ocmt",
        **credentials(shape, key.reveal()),
    }
    if shape is Shape.ANTHROPIC:
        headers["anthropic-version"] = _ANTHROPIC_VERSION
        for name in ("anthropic-version", "anthropic-beta"):
            # No version has a non-ASCII name; httpx would refuse the value.
            if (value := request.headers.get(name)) and value.isascii():
                headers[name] = value
    return headers
