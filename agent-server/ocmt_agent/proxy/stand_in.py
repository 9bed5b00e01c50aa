"""The relay's own answers to agents that are made beforehand, which have no user yet.

A stand-in for management: a model that answers one sentence, and an MCP server without tools.
"""

import json
import time
from typing import Any

from ocmt_common import bounded_json
from ocmt_common.problems import Problem
from starlette.responses import JSONResponse, Response

MODEL_PATH = "/llm/v1/chat/completions"
MCP_PATH = "/mcp"
ANSWER = "Ready."


def answer(path: str, method: str, body: bytes) -> Response:
    """The answer to a spare's request. Raises a 404 `Problem` for another path."""
    if path == MODEL_PATH and method == "POST":
        return _completion(_object(body))
    if path == MCP_PATH:
        return _mcp(method, _object(body))
    raise Problem(404, "no-such-path", "An agent without a user reaches nothing here.")


def _completion(asked: dict[str, Any]) -> Response:
    head = {"id": "ready", "created": int(time.time()), "model": "default"}
    message = {"role": "assistant", "content": ANSWER}
    if asked.get("stream") is not True:
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice]})
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": message, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks = [
        json.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]})
        for choice in choices
    ]
    text = "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"])
    return Response(text, media_type="text/event-stream")


def _mcp(method: str, message: dict[str, Any]) -> Response:
    if method != "POST":
        return Response(status_code=405, headers={"Allow": "POST"})
    if "id" not in message:
        return Response(status_code=202)
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    params = message.get("params")
    match message.get("method"):
        case "initialize":
            asked = params.get("protocolVersion") if isinstance(params, dict) else None
            reply["result"] = {
                "protocolVersion": asked or "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "ocmt", "version": "1"},
            }
        case "tools/list":
            reply["result"] = {"tools": []}
        case "ping":
            reply["result"] = {}
        case _:
            reply["error"] = {"code": -32601, "message": "Method not found"}
    return JSONResponse(reply)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = bounded_json.read(body)
    except bounded_json.NotJson:
        return {}
    return found if isinstance(found, dict) else {}
