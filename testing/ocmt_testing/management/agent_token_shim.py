"""A proxy for `/mcp` that adds the agent token, for a client that cannot send one.

For the conformance suite, whose tools have fixed names, it can also remove a server's prefix from
the aggregate's names.
"""

import json
from typing import Any

import aiohttp
from ocmt_management.disconnects import until_disconnect
from starlette.types import ASGIApp, Receive, Scope, Send

_OWN = {b"authorization", b"host", b"content-length", b"connection", b"transfer-encoding"}


def with_agent_token(url: str, token: str, *, prefix: str = "") -> ASGIApp:
    """An application that forwards to `url` with the token and cuts `prefix` off listed names."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        headers = [
            (name.decode(), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in _OWN
        ]
        if prefix and body:
            body = _with_prefix(body, prefix)
            headers = [
                (name, prefix + value if name == "mcp-name" and "://" not in value else value)
                for name, value in headers
            ]
        headers.append(("authorization", f"Bearer {token}"))
        await until_disconnect(receive, pass_on(scope["method"], headers, body, send))

    async def pass_on(method: str, headers: list[tuple[str, str]], body: bytes, send: Send) -> None:
        async with (
            aiohttp.ClientSession(trust_env=False, auto_decompress=False) as session,
            session.request(
                method, url, headers=headers, data=body or None, allow_redirects=False
            ) as answer,
        ):
            kept = [
                (name.lower(), value)
                for name, value in answer.raw_headers
                if name.lower() not in _OWN
            ]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            async for chunk in answer.content.iter_any():
                piece = (
                    chunk.replace(b'"name":"' + prefix.encode(), b'"name":"') if prefix else chunk
                )
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    return app


async def _body(receive: Receive) -> bytes:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _with_prefix(body: bytes, prefix: str) -> bytes:
    try:
        message: dict[str, Any] = json.loads(body)
    except ValueError:
        return body
    params = message.get("params") if isinstance(message, dict) else None
    if isinstance(params, dict):
        named = (
            params.get("ref", params) if message.get("method") == "completion/complete" else params
        )
        if message.get("method") in ("tools/call", "prompts/get", "completion/complete") and (
            isinstance(named, dict) and isinstance(named.get("name"), str)
        ):
            named["name"] = prefix + named["name"]
    return json.dumps(message).encode()
