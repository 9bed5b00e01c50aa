"""A user's gateway that a test controls, as the agent server's proxy passes it on."""

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from starlette.websockets import WebSocket, WebSocketDisconnect

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
        self.attached: dict[str, bytes] = {}
        """Name → bytes of the files that the user attached to messages."""
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

    async def report_tool(self, run_id: str, data: dict[str, Any]) -> None:
        """Send `session.tool` about a call of the run to every socket."""
        payload = {"sessionKey": self._key(run_id), "runId": run_id, "stream": "tool"}
        for socket in list(self.sockets):
            await self._event(socket, "session.tool", payload | {"data": data})

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
        return {"role": "assistant", "content": content, "timestamp": now_ms()}

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
        message: dict[str, Any] = {
            "role": "user",
            "content": params["message"],
            "timestamp": now_ms(),
        }
        if files := params.get("attachments"):
            message["__openclaw"] = {"media": [self._keep(file) for file in files]}
        if self.queues and self.runs:
            item = {"id": f"input-{len(self.pending)}", "runId": run_id, "message": message}
            self.pending.append(item | {"acceptedAt": now_ms(), "state": "queued"})
            self._joined.append(run_id)
        else:
            self.runs[run_id] = ""
            await self.row(message | {"idempotencyKey": f"{run_id}:user"}, key)
        return "started"

    def _keep(self, file: dict[str, Any]) -> dict[str, Any]:
        name = f"{len(self.attached)}-{file['fileName']}"
        self.attached[name] = base64.b64decode(file["content"], validate=True)
        kind = "image" if file["mimeType"].startswith("image/") else "document"
        return {"url": f"media://inbound/{name}", "kind": kind, "fileName": file["fileName"]}


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


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
