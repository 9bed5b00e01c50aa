"""The routes of users' tool servers over stdio. A test compares them with `docs/agent-api.md`."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from ocmt_common.agent_api import ToolServer, ToolServerDefinition
from ocmt_common.problems import Problem
from ocmt_common.user_ids import USER_ID_PATTERN

from ocmt_agent.api.endpoints import PartsDep
from ocmt_agent.hibernation.problems import refuse_disabled
from ocmt_agent.tool_servers import json_rpc
from ocmt_agent.tool_servers.output import MIB
from ocmt_agent.tool_servers.server import UserToolServer

router = APIRouter()

_PATH = "/api/containers/{user_id}/tool-servers/{server_id}"
_MOST_REQUEST_BYTES = 4 * MIB
_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", json_rpc.PROTOCOL_VERSION)

ServerId = Annotated[str, Path(pattern=USER_ID_PATTERN)]


@router.put(_PATH)
async def define_tool_server(
    user_id: str, server_id: ServerId, body: ToolServerDefinition, parts: PartsDep
) -> ToolServer:
    number = parts.registry.get(user_id).number
    return await parts.tool_servers.define(user_id, server_id, body, number=number)


@router.get(_PATH)
async def get_tool_server(user_id: str, server_id: ServerId, parts: PartsDep) -> ToolServer:
    return parts.tool_servers.get(user_id, server_id).shown()


@router.delete(_PATH, status_code=204)
async def remove_tool_server(user_id: str, server_id: ServerId, parts: PartsDep) -> None:
    await parts.tool_servers.remove(user_id, server_id)


@router.post(f"{_PATH}/mcp")
async def call_tool_server(
    user_id: str, server_id: ServerId, request: Request, parts: PartsDep
) -> Response:
    refuse_disabled(parts.registry.get(user_id))
    server = parts.tool_servers.get(user_id, server_id)
    version = request.headers.get("mcp-protocol-version", json_rpc.PROTOCOL_VERSION)
    if version not in _VERSIONS:
        raise _not_a_message(f"use the protocol version {json_rpc.PROTOCOL_VERSION}")
    body = await request.body()
    if len(body) > _MOST_REQUEST_BYTES:
        raise Problem(
            413, "body-too-large", f"Send at most {_MOST_REQUEST_BYTES} bytes to a tool server."
        )
    try:
        message = json_rpc.read_incoming(body)
    except json_rpc.NotAMessage as error:
        raise _not_a_message(str(error)) from error
    if message.call_id is None:
        return Response(status_code=202)
    outcome = await _unless_caller_leaves(request, _outcome(server, message))
    return Response(json_rpc.answer(message.call_id, outcome), media_type="application/json")


async def _outcome(server: UserToolServer, message: json_rpc.Incoming) -> bytes:
    """The raw outcome of a message: `"result":…` or `"error":…`.

    All callers share one session of the server, which was initialized at its start, so their own
    `initialize` does not reach it. Raises `Problem`.
    """
    if message.method == "initialize":
        return b'"result":' + await server.initialize()
    if message.method == "ping":
        return b'"result":{}'
    return await server.request(message.method, message.params)


async def _unless_caller_leaves(request: Request, work: Coroutine[Any, Any, bytes]) -> bytes:
    """Await `work`; cancel it if the caller disconnects, so that the tool server is notified."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Problem(400, "invalid-message", "The caller left before the answer.")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _not_a_message(reason: str) -> Problem:
    return Problem(400, "invalid-message", f"Correct the request: {reason}.")
