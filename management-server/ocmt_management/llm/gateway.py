"""`/llm`: the model endpoint of the agents.

An agent knows one model, `default`. The user's choice of provider, model and key is looked up for
every request, so a change works at once and no container holds a key.
"""

import re
from typing import Any

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse
from ocmt_common import bounded_json
from ocmt_common.problems import Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ocmt_management.llm import demo, errors
from ocmt_management.llm.caller_cache import Caller
from ocmt_management.llm.concurrency import RequestSlot
from ocmt_management.llm.demo_shapes import DemoAnswer
from ocmt_management.llm.dependencies import Llm
from ocmt_management.llm.errors import LlmError
from ocmt_management.llm.forwarding import RequestBody, answer_of_provider
from ocmt_management.llm.metering import Meter, usage_key
from ocmt_management.llm.models import MODEL_CHARACTERS, MODEL_PATTERN
from ocmt_management.llm.providers import DEMO_MODEL, Shape
from ocmt_management.llm.streaming import UNBUFFERED

router = APIRouter(prefix="/llm/v1")

_CLIENT_CLOSED_REQUEST = 499
"""nginx's status; only the access log shows it."""
_MODEL = re.compile(MODEL_PATTERN)


@router.post("/chat/completions")
async def chat_completions(request: Request, llm: Llm) -> Response:
    return await _answer(Shape.OPENAI, request, llm)


@router.post("/messages")
async def messages(request: Request, llm: Llm) -> Response:
    return await _answer(Shape.ANTHROPIC, request, llm)


@router.post("/responses")
async def responses(request: Request, llm: Llm) -> Response:
    return await _answer(Shape.RESPONSES, request, llm)


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
            body = _parse(await _read(request, slot), shape)
            if caller.chosen.demo:
                return slot.release_after(_from_demo(shape, body, caller, llm))
            return slot.release_after(await answer_of_provider(shape, body, request, llm, caller))
    except Problem as problem:
        return _error(problem, shape)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED_REQUEST)


def _error(problem: Problem, shape: Shape) -> Response:
    error = problem if isinstance(problem, LlmError) else errors.of_problem(problem)
    return error.in_shape(shape).response()


async def _caller(request: Request, llm: Llm) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise errors.not_an_agent()
    caller = await llm.caller(token)
    if caller is None:
        raise errors.agent_token_unknown()
    return caller


async def _read(request: Request, slot: RequestSlot) -> bytes:
    chunks: list[bytes] = []
    async for chunk in request.stream():
        slot.add_bytes(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def _parse(body: bytes, shape: Shape) -> RequestBody:
    """Parse the outer object only: the messages are large, untrusted and for the provider."""
    try:
        members = bounded_json.members(body)
        model = bounded_json.read(members["model"]) if "model" in members else "default"
    except bounded_json.NotJson as error:
        raise errors.bad_request("not-json", "Send one JSON object.") from error
    begin = bytes(memoryview(members.get(shape.conversation, b""))[:1])
    if begin != b"[" and not (shape is Shape.RESPONSES and begin == b'"'):
        raise errors.bad_request(
            "no-messages",
            f"Send a JSON object with the conversation as a list in `{shape.conversation}`.",
        )
    if not isinstance(model, str) or len(model) > MODEL_CHARACTERS or not _MODEL.fullmatch(model):
        raise errors.bad_request(
            "no-model",
            f"`model` must be 1 to {MODEL_CHARACTERS} printable ASCII characters without spaces, "
            "such as `default`.",
        )
    return RequestBody(members, model, stream=bytes(members.get("stream", b"")) == b"true")


def _from_demo(shape: Shape, body: RequestBody, caller: Caller, llm: Llm) -> Response:
    try:
        read: dict[str, Any] = {
            name: bounded_json.read(body.members[name])
            for name in (shape.conversation, "system", "instructions")
            if name in body.members
        }
    except bounded_json.NotJson as error:
        raise errors.bad_request(
            "demo-cannot-read",
            "The demo model cannot read this conversation. Begin a new one, or choose another "
            "model in the settings.",
        ) from error
    answer = DemoAnswer.to(
        shape, {**demo.as_chat(read), "model": body.model}, created_s=int(llm.clock().timestamp())
    )
    Meter(llm, usage_key(llm, caller, DEMO_MODEL, body.members, shape)).done(answer.used)
    if body.stream:
        return EventSourceResponse(answer.stream(), headers=UNBUFFERED)
    return JSONResponse(answer.whole())
