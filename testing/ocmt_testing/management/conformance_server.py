"""The MCP server that the conformance suite expects, with the suite's names and texts.

It uses the SDK's low-level server, with tables of answers.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

Json = dict[str, Any]
Answer = Json | Callable[[Any, Any], Awaitable[Json]]

_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)
_SILENCE = base64.b64encode(
    b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\0"
).decode()
_KEY = b"the conformance server's own key"


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def image() -> Json:
    return {"type": "image", "data": _PIXEL, "mimeType": "image/png"}


def embedded(uri: str, words: str, mime_type: str = "text/plain") -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": words}}


def result(*content: Json, **more: Any) -> Json:
    return {"content": [*content], **more}


# Tools that send notifications or requests to the client while they run


async def logs(context: Any, _: Any) -> Json:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_log_message(
            level="info", data=words, related_request_id=context.request_id
        )
        await asyncio.sleep(0.05)
    return result(text("Logged three times."))


async def progresses(context: Any, _: Any) -> Json:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100, f"{done} of 100")
        await asyncio.sleep(0.05)
    return result(text("Reported three times."))


async def samples(context: Any, params: Any) -> Json:
    question = types.SamplingMessage.model_validate(
        {"role": "user", "content": text((params.arguments or {}).get("prompt", ""))}
    )
    answer = await context.session.create_message(
        messages=[question], max_tokens=100, related_request_id=context.request_id
    )
    return result(text(f"LLM response: {getattr(answer.content, 'text', '')}"))


def elicits(properties: Json, required: list[str]) -> Answer:
    async def ask(context: Any, params: Any) -> Json:
        schema = {"type": "object", "properties": properties, "required": required}
        message = (params.arguments or {}).get("message", "Please fill this in.")
        answer = await context.session.elicit_form(message, schema, context.request_id)
        content = json.dumps(answer.content or {})
        return result(text(f"User response: action={answer.action}, content={content}"))

    return ask


_DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {
        "type": "string",
        "enum": ["active", "inactive", "pending"],
        "default": "active",
    },
    "verified": {"type": "boolean", "default": True},
}
_OPTIONS = ["option1", "option2", "option3"]
_TITLED = [{"const": f"value{n}", "title": f"Option {n}"} for n in (1, 2, 3)]
_ENUMS = {
    "untitledSingle": {"type": "string", "enum": _OPTIONS},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {
        "type": "string",
        "enum": _OPTIONS,
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}

# Tools of 2026-07-28 that require input of the client


def form(key: str, kind: str = "string") -> Json:
    schema = {"type": "object", "properties": {key: {"type": kind}}, "required": [key]}
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": f"Your {key}?", "requestedSchema": schema},
    }


def sampling(words: str) -> Json:
    message = {"role": "user", "content": text(words)}
    return {
        "method": "sampling/createMessage",
        "params": {"messages": [message], "maxTokens": 50},
    }


ROOTS: Json = {"method": "roots/list"}


def sealed(state: str) -> str:
    seal = hmac.new(_KEY, state.encode(), hashlib.sha256).hexdigest()
    return base64.urlsafe_b64encode(f"{seal}{state}".encode()).decode()


def opened(sealed_state: str) -> str:
    """Unseal a state. Raises `MCPError` if this server did not seal it."""
    with suppress(ValueError):
        whole = base64.urlsafe_b64decode(sealed_state.encode()).decode()
        if hmac.compare_digest(sealed(whole[64:]), sealed_state):
            return whole[64:]
    raise MCPError(code=types.INVALID_PARAMS, message="The request's state is not one of ours")


def input_required(requests: Json, state: str | None = None) -> Json:
    more = {} if state is None else {"requestState": sealed(state)}
    return {"resultType": "input_required", "inputRequests": requests, **more}


def asks_once(requests: Json, done: str, *, state: str | None = None) -> Answer:
    """An answer that requests all of `requests`, and gives `done` once the client sent them."""

    async def answer(_: Any, params: Any) -> Json:
        given = params.input_responses or {}
        came_back = state is None or (
            params.request_state is not None and opened(params.request_state) == state
        )
        if requests.keys() <= given.keys() and came_back:
            return result(text(done))
        return input_required(requests, state)

    return answer


async def asks_twice(_: Any, params: Any) -> Json:
    state = "" if params.request_state is None else opened(params.request_state)
    given = params.input_responses or {}
    if state == "second" and "step2" in given:
        return result(text("Both rounds are done."))
    if state == "first" and "step1" in given:
        return input_required({"step2": form("color")}, "second")
    return input_required({"step1": form("name")}, "first")


async def checks_state(_: Any, params: Any) -> Json:
    if params.request_state is None:
        return input_required({"confirm": form("ok", "boolean")}, "untouched")
    return result(text(f"state-ok: {opened(params.request_state)}"))


async def asks_what_the_client_can(context: Any, _: Any) -> Json:
    can = context.session.client_capabilities
    requests: Json = {}
    if can is not None and can.sampling is not None:
        requests["sample"] = sampling("Say hello")
    if can is not None and can.elicitation is not None:
        requests["ask"] = form("name")
    return input_required(requests, "by capability")


async def needs_sampling(context: Any, _: Any) -> Json:
    can = context.session.client_capabilities
    if can is None or can.sampling is None:
        raise MCPError(
            code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="The client has to be able to sample",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return result(text("The client can sample."))


_SCHEMA_2020_12: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}
_HEADER: Json = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
}
_SCHEMAS: dict[str, Json] = {
    "json_schema_2020_12_tool": _SCHEMA_2020_12,
    "test_x_mcp_header": _HEADER,
    "test_sampling": {"type": "object", "properties": {"prompt": {"type": "string"}}},
    "test_elicitation": {"type": "object", "properties": {"message": {"type": "string"}}},
}
_TOOLS: dict[str, Answer] = {
    "test_simple_text": result(text("This is a simple text response for testing.")),
    "test_image_content": result(image()),
    "test_audio_content": result({"type": "audio", "data": _SILENCE, "mimeType": "audio/wav"}),
    "test_embedded_resource": result(
        embedded("test://embedded-resource", "This is an embedded resource content.")
    ),
    "test_multiple_content_types": result(
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", '{"test":"data"}', "application/json"),
    ),
    "test_error_handling": result(
        text("This tool intentionally returns an error for testing"), isError=True
    ),
    "test_tool_with_logging": logs,
    "test_tool_with_progress": progresses,
    "test_sampling": samples,
    "test_elicitation": elicits({"response": {"type": "string"}}, ["response"]),
    "test_elicitation_sep1034_defaults": elicits(_DEFAULTS, []),
    "test_elicitation_sep1330_enums": elicits(_ENUMS, []),
    "test_missing_capability": needs_sampling,
    "json_schema_2020_12_tool": result(text("It has a schema.")),
    "test_x_mcp_header": result(text("It has a header.")),
    "test_input_required_result_elicitation": asks_once({"user_name": form("name")}, "Hello!"),
    "test_input_required_result_sampling": asks_once(
        {"capital_question": sampling("What is the capital of France?")}, "Sampled."
    ),
    "test_input_required_result_list_roots": asks_once({"client_roots": ROOTS}, "Listed."),
    "test_input_required_result_request_state": asks_once(
        {"confirm": form("ok", "boolean")}, "state-ok: confirmed", state="nonce"
    ),
    "test_input_required_result_multiple_inputs": asks_once(
        {
            "user_name": form("name"),
            "greeting": sampling("Generate a greeting"),
            "client_roots": ROOTS,
        },
        "All inputs received.",
        state="several",
    ),
    "test_input_required_result_multi_round": asks_twice,
    "test_input_required_result_tampered_state": checks_state,
    "test_input_required_result_capabilities": asks_what_the_client_can,
}
_RESOURCES: dict[str, Json] = {
    "test://static-text": {
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    },
    "test://static-binary": {"mimeType": "image/png", "blob": _PIXEL},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watched."},
}


def says(*content: Json) -> Callable[[Any], Json]:
    return lambda _: {"messages": [{"role": "user", "content": one} for one in content]}


def _with_arguments(params: Any) -> Json:
    given = params.arguments or {}
    words = f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"
    return says(text(words))(params)


def _with_resource(params: Any) -> Json:
    uri = (params.arguments or {}).get("resourceUri", "test://example")
    words = "Embedded resource content for testing."
    return says(embedded(uri, words), text("Please process the resource above."))(params)


def _asks_first(params: Any) -> Json:
    if "user_context" in (params.input_responses or {}):
        return says(text("Thank you."))(params)
    return input_required({"user_context": form("context")})


_PROMPTS: dict[str, tuple[list[str], Callable[[Any], Json]]] = {
    "test_simple_prompt": ([], says(text("This is a simple prompt for testing."))),
    "test_prompt_with_arguments": (["arg1", "arg2"], _with_arguments),
    "test_prompt_with_embedded_resource": (["resourceUri"], _with_resource),
    "test_prompt_with_image": ([], says(image(), text("Please analyze the image above."))),
    "test_input_required_result_prompt": ([], _asks_first),
}


async def list_tools(*_: Any) -> types.ListToolsResult:
    plain: Json = {"type": "object", "properties": {}}
    tools = [
        {"name": name, "description": "For the suite.", "inputSchema": _SCHEMAS.get(name, plain)}
        for name in _TOOLS
    ]
    return types.ListToolsResult.model_validate({"tools": tools})


async def call_tool(context: Any, params: Any) -> types.CallToolResult | types.InputRequiredResult:
    answer = _TOOLS.get(params.name)
    if answer is None:
        raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name}")
    made = answer if isinstance(answer, dict) else await answer(context, params)
    if made.get("resultType") == "input_required":
        return types.InputRequiredResult.model_validate(made)
    return types.CallToolResult.model_validate(made)


async def list_resources(*_: Any) -> types.ListResourcesResult:
    resources = [
        {"uri": uri, "name": uri.rpartition("/")[2], "mimeType": content["mimeType"]}
        for uri, content in _RESOURCES.items()
    ]
    return types.ListResourcesResult.model_validate({"resources": resources})


async def list_templates(*_: Any) -> types.ListResourceTemplatesResult:
    template = {"uriTemplate": "test://template/{id}/data", "name": "template"}
    return types.ListResourceTemplatesResult.model_validate({"resourceTemplates": [template]})


async def read_resource(_: Any, params: Any) -> types.ReadResourceResult:
    uri = str(params.uri)
    content = _RESOURCES.get(uri)
    if content is None and uri.startswith("test://template/") and uri.endswith("/data"):
        made = {"id": uri.split("/")[3], "templateTest": True}
        content = {"mimeType": "application/json", "text": json.dumps(made)}
    if content is None:
        raise MCPError(code=types.INVALID_PARAMS, message="Resource not found", data={"uri": uri})
    return types.ReadResourceResult.model_validate({"contents": [{"uri": uri, **content}]})


async def list_prompts(*_: Any) -> types.ListPromptsResult:
    prompts = [
        {
            "name": name,
            "description": "For the suite.",
            "arguments": [
                {"name": one, "description": "For the suite.", "required": True}
                for one in arguments
            ],
        }
        for name, (arguments, _) in _PROMPTS.items()
    ]
    return types.ListPromptsResult.model_validate({"prompts": prompts})


async def get_prompt(_: Any, params: Any) -> types.GetPromptResult | types.InputRequiredResult:
    if params.name not in _PROMPTS:
        raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown prompt: {params.name}")
    made = _PROMPTS[params.name][1](params)
    if made.get("resultType") == "input_required":
        return types.InputRequiredResult.model_validate(made)
    return types.GetPromptResult.model_validate(made)


async def complete(*_: Any) -> types.CompleteResult:
    return types.CompleteResult.model_validate({"completion": {"values": [], "total": 0}})


async def nothing(*_: Any) -> types.EmptyResult:
    return types.EmptyResult()


def server() -> Server[Any]:
    return Server(
        "conformance",
        version="1",
        cache_hints={"tools/list": CacheHint(), "resources/read": CacheHint()},
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=nothing,
        on_unsubscribe_resource=nothing,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=nothing,
    )


if __name__ == "__main__":
    uvicorn.run(
        server().streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="error"
    )
