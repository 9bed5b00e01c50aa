"""An agent server with gateways that a test controls.

It has the routes that management uses. `integration/chat/test_real_conversation.py` runs the same
conversation on it and on a real agent server with a real gateway, and compares them.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ocmt_testing.management.serving import Server, serving

TOKEN = "token-of-the-agent-server-0123456789"

Refusal = tuple[int, str, str]
"""Status, code, detail."""


MAIN_KEY = "agent:main:main"
_CHANGES = frozenset({"label", "autoLabel", "pinned", "unread", "archived"})
_MAX_CHARS = 8_000
_MAX_MESSAGE_BYTES = 128 * 1024


class FakeGateway:
    """One user's OpenClaw: a transcript, runs whose text the test sets, and sockets."""

    def __init__(self) -> None:
        self.transcripts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        """The messages of each session by its key."""
        self.sessions: dict[str, dict[str, Any]] = {MAIN_KEY: {"key": MAIN_KEY, "sessionId": "s0"}}
        """The rows of `sessions.list`."""
        self.hits: list[dict[str, Any]] = []
        """The answer to `sessions.search`."""
        self._session_of_run: dict[str, str] = {}
        self.queues = False
        """Whether a message that arrives during a run waits, as in OpenClaw."""
        self.pending: list[dict[str, Any]] = []
        """Messages that wait or never had their turn, oldest first."""
        self.files: dict[str, tuple[str, bytes]] = {}
        """Id → type and bytes of the files that the agent sent in the main session."""
        self.runs: dict[str, str] = {}
        self.stops: asyncio.Event | None = None
        """If set, stopped runs end when it is."""
        self._stopping: asyncio.Task[None] | None = None
        self.sockets: list[WebSocket] = []
        self.subscribed: dict[WebSocket, set[str]] = defaultdict(set)
        """The keys of the sessions whose messages each socket gets; `list` for the list."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.requests: asyncio.Queue[str] = asyncio.Queue()
        self._joined: list[str] = []
        """Runs to end after the answer, since their messages wait."""
        self.refusals: list[dict[str, Any]] = []
        """Errors to answer the next requests with."""
        self.refusals_of: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        """The same, by method."""
        self.garbled: dict[str, str] = {}
        """Method → text of the answer after `"id":…,`, up to the closing brace."""
        self.hello = '"ok":true,"payload":{"type":"hello-ok"}'

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The messages of the main session."""
        return self.transcripts[MAIN_KEY]

    @rows.setter
    def rows(self, rows: list[dict[str, Any]]) -> None:
        self.transcripts[MAIN_KEY] = rows

    async def blurt(self, text: str) -> None:
        """Send `text` on every socket; it need not be a valid frame."""
        for socket in list(self.sockets):
            await socket.send_text(text)

    async def say(self, run_id: str, more: str) -> None:
        """Append a delta to the run."""
        self.runs[run_id] = self.runs.get(run_id, "") + more
        await self._chat(
            run_id, state="delta", deltaText=more, message=self._assistant(self.runs[run_id])
        )

    async def call_tool(self, run_id: str) -> None:
        """Store the run's text so far, as OpenClaw does before it calls a tool."""
        row = self._row_of(run_id, self.runs[run_id]) | {"stopReason": "toolUse"}
        await self.row(row, self._key(run_id))

    async def finish(self, run_id: str, *, files: Sequence[dict[str, Any]] = ()) -> None:
        """End the run. Its files come into the history afterwards, and are in no event."""
        text, key = self.runs.pop(run_id), self._key(run_id)
        await self.row(self._row_of(run_id, text), key)
        await self._chat(run_id, state="final", message=self._assistant(text))
        if files:
            rows = self.transcripts[key]
            rows[-1] = rows[-1] | {"content": [*rows[-1]["content"], *files]}
            changed = {"sessionKey": key, "phase": "message"}
            for socket in self._subscribers(key):
                await self._event(socket, "sessions.changed", changed)

    async def take_up(self, message_id: str) -> str:
        """Begin the turn of a waiting message. Returns the id of its run, which is a new one."""
        [item] = [item for item in self.pending if item["runId"] == message_id]
        self.pending.remove(item)
        run_id = f"turn-of-{message_id}"
        self.runs[run_id] = ""
        await self.row(item["message"] | {"idempotencyKey": f"{message_id}:user"})
        return run_id

    async def fail(self, run_id: str, message: str) -> None:
        self.runs.pop(run_id, None)
        row = self._row_of(run_id, f"⚠️ {message}") | {"stopReason": "error"}
        await self.row(row, self._key(run_id))
        await self._chat(run_id, state="error", errorMessage=message)
        await self._chat(run_id, state="error", errorMessage=f"Agent failed: {message}")

    async def join(self, run_id: str) -> None:
        """End the run without an answer, since its message joined another run."""
        self.runs.pop(run_id, None)
        await self._chat(run_id, state="final")

    async def row(self, row: dict[str, Any], key: str = MAIN_KEY) -> None:
        self.transcripts[key].append(row)
        payload = {"sessionKey": key, "message": row}
        for socket in self._subscribers(key):
            await self._event(socket, "session.message", payload)

    async def change(self, key: str, reason: str = "patch", **changes: Any) -> None:
        """Change a session's row, and report it to those who follow the list."""
        if reason == "delete":
            self.sessions.pop(key, None)
        else:
            new = {"key": key, "sessionId": f"s{len(self.sessions)}"}
            self.sessions[key] = self.sessions.get(key, new) | changes
        payload: dict[str, Any] = {"sessionKey": key, "reason": reason}
        if key in self.sessions:
            payload["session"] = self.sessions[key]
        for socket in self._subscribers("list"):
            await self._event(socket, "sessions.changed", payload)

    def _key(self, run_id: str) -> str:
        return self._session_of_run.get(run_id, MAIN_KEY)

    def _subscribers(self, what: str) -> list[WebSocket]:
        return [socket for socket in self.sockets if what in self.subscribed[socket]]

    async def crash(self) -> None:
        """End the gateway like a crash: drop its runs and close its sockets."""
        self.runs.clear()
        self._end_waiting("interrupted")
        await self.drop()

    async def drop(self) -> None:
        """Close every connection; the runs continue."""
        sockets, self.sockets = self.sockets, []
        self.subscribed.clear()
        for socket in sockets:
            await socket.close(1012, "service restart")

    async def _chat(self, run_id: str, **payload: Any) -> None:
        common = {"runId": run_id, "sessionKey": self._key(run_id)}
        for socket in list(self.sockets):
            await self._event(socket, "chat", common | payload)

    async def _event(self, socket: WebSocket, name: str, payload: dict[str, Any]) -> None:
        await socket.send_json({"type": "event", "event": name, "payload": payload})

    def _assistant(self, text: str) -> dict[str, Any]:
        content = [{"type": "text", "text": text}]
        return {"role": "assistant", "content": content, "timestamp": _now_ms()}

    def _row_of(self, run_id: str, text: str) -> dict[str, Any]:
        return self._assistant(text) | {
            "__openclaw": {"id": f"row-{sum(map(len, self.transcripts.values()))}", "runId": run_id}
        }

    def _works(self, key: str) -> bool:
        return any(self._key(run_id) == key for run_id in self.runs)

    async def _abort(self, key: str) -> None:
        self._end_waiting("cancelled")
        if self.stops is not None:
            await self.stops.wait()
        for run_id in [one for one in self.runs if self._key(one) == key]:
            del self.runs[run_id]
            await self._chat(run_id, state="aborted")

    def _end_waiting(self, state: str) -> None:
        for item in self.pending:
            if item["state"] == "queued":
                item["state"] = state

    async def serve(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        try:
            while True:
                request = await socket.receive_json()
                method, params = request["method"], request["params"]
                self.asked.append((method, params))
                if method in self.garbled:
                    written = self.garbled.pop(method)
                    await socket.send_text(f'{{"type":"res","id":"{request["id"]}",{written}}}')
                    continue
                refusals = self.refusals or self.refusals_of[method]
                if refusals:
                    answer: dict[str, Any] = {"ok": False, "error": refusals.pop(0)}
                else:
                    answer = {"ok": True, "payload": await self._do(method, params, socket)}
                await socket.send_json({"type": "res", "id": request["id"], **answer})
                while self._joined:
                    await self._chat(self._joined.pop(), state="final")
                self.requests.put_nowait(method)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self.subscribed.pop(socket, None)
            if socket in self.sockets:
                self.sockets.remove(socket)

    async def _do(self, method: str, params: dict[str, Any], socket: WebSocket) -> dict[str, Any]:
        answer: dict[str, Any]
        match method:
            case "sessions.messages.subscribe":
                self.subscribed[socket].add(_canonical(params["key"]))
                answer = {"subscribed": True, "key": _canonical(params["key"])}
            case "chat.history":
                answer = self._history(params)
            case "chat.message.get":
                answer = self._message(params)
            case "chat.abort":
                answer = {"ok": True}
                self._stopping = asyncio.create_task(self._abort(_canonical(params["sessionKey"])))
                if self.stops is None:
                    await self._stopping
            case "chat.send":
                answer = {"runId": params["idempotencyKey"], "status": await self._send(params)}
            case _:
                answer = await self._do_with_sessions(method, params, socket)
        return answer

    async def _do_with_sessions(
        self, method: str, params: dict[str, Any], socket: WebSocket
    ) -> dict[str, Any]:
        answer: dict[str, Any]
        match method:
            case "sessions.subscribe":
                self.subscribed[socket].add("list")
                answer = {"subscribed": True, "list": {"sessions": list(self.sessions.values())}}
            case "sessions.describe":
                key = _canonical(params["key"])
                row = self.sessions.get(key)
                answer = {"session": row and {"hasActiveRun": self._works(key)} | row}
            case "sessions.patch":
                changes = {name: value for name, value in params.items() if name in _CHANGES}
                await self.change(_canonical(params["key"]), method, **changes)
                answer = {"ok": True, "key": params["key"]}
            case "sessions.delete":
                assert params["archivedOnly"]
                assert self.sessions[params["key"]]["archived"]
                assert not self._works(params["key"])
                await self.change(params["key"], "delete")
                answer = {"ok": True, "deleted": True}
            case "sessions.fork":
                key, fork = _canonical(params["sessionKey"]), f"agent:main:dashboard:{uuid4()}"
                rows = self.transcripts[key]
                ids = [row.get("__openclaw", {}).get("id") for row in rows]
                cut = ids.index(params["entryId"])
                self.transcripts[fork] = rows[:cut]
                await self.change(fork, "fork")
                answer = {"sessionKey": fork, "editorText": rows[cut]["content"]}
            case "sessions.list":
                answer = {"sessions": list(self.sessions.values())}
            case "sessions.get":
                answer = {"messages": self.transcripts[_canonical(params["key"])]}
            case _:
                assert method == "sessions.search"
                answer = {"results": self.hits, "sessions": list(self.sessions.values())}
        return answer

    def _history(self, params: dict[str, Any]) -> dict[str, Any]:
        max_chars = params.get("maxChars", _MAX_CHARS)
        key, offset = _canonical(params["sessionKey"]), params.get("offset", 0)
        rows, runs = self.transcripts[key], [one for one in self.runs if self._key(one) == key]
        end = len(rows) - offset
        begin = max(0, end - params["limit"])
        answer: dict[str, Any] = {
            "messages": [_for_history(row, max_chars) for row in rows[begin:end]],
            "sessionInfo": {"hasActiveRun": bool(runs)},
            "pendingInputs": {"items": self.pending[-20:], "total": len(self.pending)},
            "hasMore": begin > 0,
        }
        if begin > 0:
            answer["nextOffset"] = len(rows) - begin
        for run_id in runs[:1]:
            answer["inFlightRun"] = {"runId": run_id, "text": self.runs[run_id]}
        return answer

    def _message(self, params: dict[str, Any]) -> dict[str, Any]:
        for row in self.transcripts[_canonical(params["sessionKey"])]:
            if row.get("__openclaw", {}).get("id") == params["messageId"]:
                return {"ok": True, "message": _cut(row, params["maxChars"])}
        return {"ok": False, "unavailableReason": "not_found"}

    async def _send(self, params: dict[str, Any]) -> str:
        run_id, key = params["idempotencyKey"], _canonical(params["sessionKey"])
        if run_id in self.runs:
            return "in_flight"
        if any(row.get("idempotencyKey") == f"{run_id}:user" for row in self.transcripts[key]):
            return "ok"
        self._session_of_run[run_id] = key
        if key not in self.sessions:
            await self.change(key, "participants")
        message = {"role": "user", "content": params["message"], "timestamp": _now_ms()}
        if self.queues and self.runs:
            item = {"id": f"input-{len(self.pending)}", "runId": run_id, "message": message}
            self.pending.append(item | {"acceptedAt": _now_ms(), "state": "queued"})
            self._joined.append(run_id)
        else:
            self.runs[run_id] = ""
            await self.row(message | {"idempotencyKey": f"{run_id}:user"}, key)
        return "started"


def _canonical(key: str) -> str:
    return MAIN_KEY if key == "main" else key


def _for_history(row: dict[str, Any], max_chars: int) -> dict[str, Any]:
    """A row as `chat.history` has it (chat-history-pages in OpenClaw 2026.9.6)."""
    shown = _cut(row, max_chars)
    if len(json.dumps(shown, ensure_ascii=False).encode()) <= _MAX_MESSAGE_BYTES:
        return shown
    meta = row.get("__openclaw", {})
    return {
        "role": row["role"],
        "timestamp": row.get("timestamp"),
        "content": [{"type": "text", "text": "[chat.history omitted: message too large]"}],
        "__openclaw": {"id": meta.get("id"), "truncated": True, "reason": "oversized"},
    }


def _cut(row: dict[str, Any], max_chars: int) -> dict[str, Any]:
    def shortened(text: str) -> str:
        return text if len(text) <= max_chars else f"{text[:max_chars]}\n...(truncated)..."

    content = row.get("content")
    if isinstance(content, str):
        return row | {"content": shortened(content)}
    parts = content if isinstance(content, list) else []
    return row | {
        "content": [
            part | {"text": shortened(part["text"])} if "text" in part else part for part in parts
        ]
    }


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
        challenge = {"nonce": "nonce", "ts": _now_ms()}
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


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
