"""An agent server with gateways that a test controls.

It has the routes that management uses. `integration/chat/test_real_conversation.py` runs the same
conversation on it and on a real agent server with a real gateway, and compares them.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ocmt_testing.management.gateway import FakeGateway, now_ms
from ocmt_testing.management.serving import Server, serving

TOKEN = "token-of-the-agent-server-0123456789"

Refusal = tuple[int, str, str]
"""Status, code, detail."""


class FakeAgentServer:
    server: Server

    def __init__(self) -> None:
        self.provisioned: list[tuple[str, str]] = []
        self.refusals: list[Refusal] = []
        """Refusals of the next provisions."""
        self.health: dict[str, Any] = {"status": "ok", "problems": []}
        self.hold: asyncio.Event | None = None
        """If set, provisions wait for it."""
        self.held: list[str] = []
        """The tokens of all received provisions."""
        self.woken: list[str] = []
        self.orders: list[tuple[str, str]] = []
        """`(disable|enable|remove, user id)` in the order received."""
        self.order_refusals: dict[str, list[Refusal]] = {}
        """Order → refusals of its next requests."""
        self.orders_held: dict[str, asyncio.Event] = {}
        """Order → an event awaited between its effect and its answer."""
        self.tools_versions: list[tuple[str, int]] = []
        """`(user id, version)` in the order received."""
        self.tools_version_refusals: list[Refusal] = []
        """Answers to the next versions of tools."""
        self.tools_version_held: asyncio.Event | None = None
        """If set, versions of tools wait for it."""
        self.model_refusals: list[Refusal] = []
        """Answers to the next models; each agent's is in its container."""
        self.tool_servers: dict[tuple[str, str], dict[str, Any]] = {}
        """`(user id, server id)` → the definition."""
        self.tool_server_refusals: list[Refusal] = []
        """Answers to the next definitions."""
        self.tool_server_url = ""
        """Where requests to tool servers go instead of to a container."""
        self.tool_server_state = "stopped"
        self.tool_server_held: asyncio.Event | None = None
        """If set, requests to tool servers wait for it."""
        self.tokens: set[str | None] = set()
        self.request_ids: list[str | None] = []
        self.containers: dict[str, dict[str, Any]] = {}
        self.gateways: defaultdict[str, FakeGateway] = defaultdict(FakeGateway)
        self.listeners: list[asyncio.Queue[dict[str, Any] | None]] = []
        self.listening = asyncio.Event()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/api/events", self._events),
                Route("/api/containers", self._list),
                Route("/api/containers", self._provision, methods=["POST"]),
                Route("/api/containers/{user_id}/wake", self._wake, methods=["POST"]),
                Route(
                    "/api/containers/{user_id}/tool-servers/{server_id}",
                    self._tool_server,
                    methods=["GET", "PUT", "DELETE"],
                ),
                Route(
                    "/api/containers/{user_id}/tool-servers/{server_id}/mcp",
                    self._tool_server_mcp,
                    methods=["GET", "POST", "DELETE"],
                ),
                Route("/api/containers/{user_id}/{order:str}", self._order, methods=["POST"]),
                Route("/api/containers/{user_id}", self._remove, methods=["DELETE"]),
                Route(
                    "/api/containers/{user_id}/tools-version", self._tools_version, methods=["PUT"]
                ),
                Route("/api/containers/{user_id}/model", self._model, methods=["PUT"]),
                Route(
                    "/api/containers/{user_id}/proxy/api/chat/media/outgoing/{key}/{file_id}/full",
                    self._file,
                ),
                Route("/api/containers/{user_id}/attachments", self._attachment),
                WebSocketRoute("/api/containers/{user_id}/proxy/", self._proxy),
            ]
        )

    def move(
        self, user_id: str, state: str, *, failure: str | None = None, warning: str | None = None
    ) -> None:
        """Set the agent's state, and send an event to all subscribers."""
        known = self.containers.get(user_id, {})
        before = known.get("hibernationState")
        self.containers[user_id] = _container(user_id, state, failure) | {
            "warning": warning,
            "disabled": known.get("disabled", False),
            "model": known.get("model", {}),
        }
        event = {
            "userId": user_id,
            "at": datetime.now(UTC).isoformat(),
            "fromState": before,
            "toState": state,
            "why": "test",
            "failure": failure,
            "warning": warning,
        }
        for listener in self.listeners:
            listener.put_nowait(event)

    def forget(self, user_id: str) -> None:
        del self.containers[user_id]

    def hang_up(self) -> None:
        """End all event streams."""
        for listener in self.listeners:
            listener.put_nowait(None)

    def _known(self, request: Request | WebSocket) -> bool:
        self.tokens.add(request.headers.get("x-auth-token"))
        self.request_ids.append(request.headers.get("x-request-id"))
        return request.headers.get("x-auth-token") == TOKEN

    async def _health(self, _: Request) -> Response:
        counts = {"running": 0, "paused": 0, "stopped": 0}
        return JSONResponse(
            {"containers": 0, "hibernation": counts, "runtime": "fake", **self.health}
        )

    async def _list(self, request: Request) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        return JSONResponse(list(self.containers.values()))

    async def _events(self, request: Request) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")

        async def stream() -> AsyncIterator[str]:
            listener: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
            self.listeners.append(listener)
            snapshot = {"containers": list(self.containers.values())}
            yield f"event: snapshot\ndata: {json.dumps(snapshot)}\n\n"
            self.listening.set()
            try:
                while (event := await listener.get()) is not None:
                    yield f"data: {json.dumps(event)}\n\n"
            finally:
                self.listeners.remove(listener)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def _file(self, request: Request) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        gateway = self.gateways[request.path_params["user_id"]]
        found = gateway.files.get(request.path_params["file_id"])
        if found is None or request.path_params["key"] != "agent:main:main":
            return Response("not found", 404)
        return Response(found[1], media_type=found[0])

    async def _attachment(self, request: Request) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        gateway = self.gateways[request.path_params["user_id"]]
        found = gateway.attached.get(request.query_params["name"])
        if found is None:
            return _problem(404, "no-such-file", "This file does not exist any more.")
        return Response(found, media_type="application/octet-stream")

    async def _provision(self, request: Request) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        body = await request.json()
        if self.hold is not None:
            self.held.append(body["agentToken"])
            await self.hold.wait()
        if self.refusals:
            return _problem(*self.refusals.pop(0))
        if self.containers.get(body["userId"], {}).get("disabled"):
            return _problem(409, "agent-disabled", "This agent is disabled.")
        self.provisioned.append((body["userId"], body["agentToken"]))
        made = body["userId"] not in self.containers
        self.move(body["userId"], "running")
        return JSONResponse(self.containers[body["userId"]], status_code=201 if made else 200)

    async def _wake(self, request: Request) -> Response:
        user_id = request.path_params["user_id"]
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        if user_id not in self.containers:
            return _problem(404, "no-such-agent", "This user has no agent here.")
        if self.containers[user_id]["disabled"]:
            return _problem(409, "agent-disabled", "This agent is disabled.")
        self.woken.append(user_id)
        self.move(user_id, "running")
        return JSONResponse(self.containers[user_id])

    async def _tools_version(self, request: Request) -> Response:
        user_id = request.path_params["user_id"]
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        if self.tools_version_held is not None:
            await self.tools_version_held.wait()
        if self.tools_version_refusals:
            return _problem(*self.tools_version_refusals.pop(0))
        if user_id not in self.containers:
            return _problem(404, "no-such-agent", "This user has no agent here.")
        self.tools_versions.append((user_id, (await request.json())["version"]))
        return Response(status_code=204)

    async def _model(self, request: Request) -> Response:
        user_id = request.path_params["user_id"]
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        if self.model_refusals:
            return _problem(*self.model_refusals.pop(0))
        if user_id not in self.containers:
            return _problem(404, "no-such-agent", "This user has no agent here.")
        self.containers[user_id]["model"] = await request.json()
        return Response(status_code=204)

    async def _tool_server(self, request: Request) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        key = (request.path_params["user_id"], request.path_params["server_id"])
        if request.method == "GET":
            if key not in self.tool_servers:
                return _problem(404, "no-such-tool-server", "Send its definition first.")
            state = {"serverId": key[1], "package": "p", "version": "1.0.0"}
            return JSONResponse({**state, "state": self.tool_server_state})
        if request.method == "DELETE":
            self.tool_servers.pop(key, None)
        elif self.tool_server_refusals:
            return _problem(*self.tool_server_refusals.pop(0))
        else:
            self.tool_servers[key] = await request.json()
        return Response(status_code=204)

    async def _tool_server_mcp(self, request: Request) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        key = (request.path_params["user_id"], request.path_params["server_id"])
        if key not in self.tool_servers:
            return _problem(404, "no-such-tool-server", "Send its definition first.")
        if self.tool_server_held is not None:
            await self.tool_server_held.wait()
            if self.tool_server_state == "failed":
                return _problem(503, "tool-package-failed", "npm's registry does not have it.")
        async with httpx2.AsyncClient(trust_env=False) as client:
            headers = {k: v for k, v in request.headers.items() if k.startswith(("mcp-", "acc"))}
            answer = await client.request(
                request.method,
                self.tool_server_url,
                headers={**headers, "content-type": "application/json"},
                content=await request.body(),
            )
        return Response(
            answer.content,
            status_code=answer.status_code,
            headers={k: v for k, v in answer.headers.items() if k in ("content-type",)},
        )

    async def _order(self, request: Request) -> Response:
        user_id, order = request.path_params["user_id"], request.path_params["order"]
        assert order in ("disable", "enable")
        return await self._obey(request, order, user_id)

    async def _remove(self, request: Request) -> Response:
        assert request.query_params["state"] == "delete"
        return await self._obey(request, "remove", request.path_params["user_id"])

    async def _obey(self, request: Request, order: str, user_id: str) -> Response:
        if not self._known(request):
            return _problem(401, "wrong-token", "Wrong token.")
        self.orders.append((order, user_id))
        if self.order_refusals.get(order):
            return _problem(*self.order_refusals[order].pop(0))
        if order == "remove":
            self.containers.pop(user_id, None)
        elif user_id not in self.containers:
            return _problem(404, "no-such-agent", "This user has no agent here.")
        else:
            self.containers[user_id]["disabled"] = order == "disable"
            if order == "disable":
                self.move(user_id, "stopped")
        answer = (
            Response(status_code=204)
            if order == "remove"
            else JSONResponse(self.containers[user_id])
        )
        if order in self.orders_held:
            await self.orders_held[order].wait()
        return answer

    async def _proxy(self, socket: WebSocket) -> None:
        if not self._known(socket):
            await socket.close(1008)
            return
        user_id = socket.path_params["user_id"]
        await socket.accept()
        challenge = {"nonce": "nonce", "ts": now_ms()}
        await socket.send_json(
            {"type": "event", "event": "connect.challenge", "payload": challenge}
        )
        connect = await socket.receive_json()
        assert connect["method"] == "connect"
        if user_id not in self.containers:
            error = {"code": "UNAVAILABLE", "message": "No agent here.", "retryable": True}
            await socket.send_json(
                {"type": "res", "id": connect["id"], "ok": False, "error": error}
            )
            await socket.close(1013, "no-such-agent")
            return
        self.move(user_id, "running")
        hello = self.gateways[user_id].hello
        await socket.send_text(f'{{"type":"res","id":"{connect["id"]}",{hello}}}')
        await self.gateways[user_id].serve(socket)


@asynccontextmanager
async def running_agent_server() -> AsyncIterator[FakeAgentServer]:
    fake = FakeAgentServer()
    async with serving(fake.app()) as fake.server:
        yield fake
        fake.hang_up()


def _container(user_id: str, state: str, failure: str | None) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "userId": user_id,
        "hibernationState": state,
        "idleMinutes": 3,
        "lastActivity": now,
        "lastActivityKind": "http",
        "stateSince": now,
        "awakeBecause": [],
        "failure": failure,
        "disabled": False,
        "model": {},
    }


def _problem(status: int, code: str, detail: str) -> Response:
    body = {"type": f"/problems/{code}", "status": status, "code": code, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
