"""Runs tool calls at their servers, within limits, and records each use."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from ocmt_management.clock import Clock
from ocmt_management.tools import trouble
from ocmt_management.tools.api_calls import ApiCalls
from ocmt_management.tools.argument_shape import shape_of
from ocmt_management.tools.breaker import Breaker
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.limits import CALL_TIMEOUT_S, CallLimits
from ocmt_management.tools.messages import parameter_headers
from ocmt_management.tools.metrics import ToolMetrics
from ocmt_management.tools.models import Rule
from ocmt_management.tools.result_check import Unusable, check_call_result
from ocmt_management.tools.snapshot import Tool
from ocmt_management.tools.snapshots import Snapshots
from ocmt_management.tools.trouble import RpcError, Trouble
from ocmt_management.tools.upstream import OnMessage, Upstream
from ocmt_management.tools.use_recorder import Use, UseRecorder


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of one tool for one user. Its arguments are never logged."""

    user_id: str
    server_id: str
    tool: str
    """The tool's name at its server."""
    arguments: bytes
    """A JSON object, as the agent wrote it."""
    pin: bytes
    """The definition that the agent was shown."""

    def __repr__(self) -> str:
        return f"ToolCall({self.server_id}, {self.tool}, for {self.user_id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The current rule, pin and versions of a tool. Versions are compared for equality only."""

    rule: Rule
    pin: bytes | None
    """The pin of the usable definition; `None` if it is gone, quarantined or not connected."""
    rules_version: int
    account_version: int


class ToolCalls:
    """Runs calls at their servers, with the credential that the user has at that moment."""

    def __init__(
        self,
        *,
        snapshots: Snapshots,
        upstream: Upstream,
        apis: ApiCalls,
        breaker: Breaker,
        limits: CallLimits,
        recorder: UseRecorder,
        metrics: ToolMetrics,
        clock: Clock,
        on_trouble: Callable[[Connection, Trouble], None],
        on_served: Callable[[Connection], None],
    ) -> None:
        self._snapshots = snapshots
        self._upstream = upstream
        self._apis = apis
        self._breaker = breaker
        self._limits = limits
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._on_trouble = on_trouble
        self._on_served = on_served

    async def run(
        self, call: ToolCall, *, meta: bytes | None = None, on_message: OnMessage | None = None
    ) -> bytes:
        """Run a call. Returns its `CallToolResult` as JSON.

        Does not raise for trouble with the server: the result then has `isError` and the cure.
        """
        tools = await self._snapshots.of_user(call.user_id)
        tool = tools.by_server.get((call.server_id, call.tool))
        if tool is None or tool.pin != call.pin:
            return trouble.error_result(changed(call.tool))
        started = time.monotonic()
        try:
            outcome, result = await self._run(tool, call, meta, on_message)
        except Trouble as problem:
            self._metrics.troubled(problem.kind)
            self._on_trouble(tool.connection, problem)
            outcome, result = "trouble", trouble.error_result(problem.text)
        self.record(tool, call.arguments, outcome, started)
        return result

    async def passed(
        self, tool: Tool, arguments: bytes, passing: Callable[[], Awaitable[str]]
    ) -> None:
        """Pass a call on within the limits of `run`. `passing` sends it and returns its outcome.

        Raises `Trouble`.
        """
        connection = tool.connection
        started = time.monotonic()
        outcome = "trouble"
        try:
            self._breaker.check(connection.session_key, connection.name)
            with self._limits.call(connection.key, connection.name):
                outcome = await passing()
        except Trouble as problem:
            self._breaker.failed(connection.session_key, problem)
            self._metrics.troubled(problem.kind)
            self._on_trouble(connection, problem)
            raise
        else:
            self._breaker.served(connection.session_key)
            self._on_served(connection)
        finally:
            self.record(tool, arguments, outcome, started)

    def record(self, tool: Tool, arguments: bytes, outcome: str, started: float) -> None:
        """Record a use for the page and the metrics. `started` is a `time.monotonic()` value."""
        seconds = time.monotonic() - started
        self._metrics.called(outcome, seconds)
        self._recorder.record(
            Use(
                user_id=tool.connection.user_id,
                server_id=tool.connection.server_id,
                tool=tool.name,
                outcome=outcome,
                milliseconds=round(seconds * 1000),
                shape=shape_of(arguments, tool.definition),
                with_credential=outcome in ("ok", "error", "trouble")
                and (
                    tool.connection.credential is not None
                    or tool.connection.connection_id is not None
                ),
                at=self._clock(),
            )
        )

    async def _run(
        self, tool: Tool, call: ToolCall, meta: bytes | None, on_message: OnMessage | None
    ) -> tuple[str, bytes]:
        connection = tool.connection
        key = connection.session_key
        self._breaker.check(key, connection.name)
        params = b'{"name":%b,"arguments":%b%b}' % (
            msgspec.json.encode(tool.name),
            call.arguments,
            b"" if meta is None else b',"_meta":' + meta,
        )
        try:
            with self._limits.call(connection.key, connection.name):
                raw = await (
                    self._apis.call(connection, tool.name, call.arguments)
                    if connection.is_api
                    else self._upstream.request(
                        connection,
                        "tools/call",
                        params,
                        timeout_s=CALL_TIMEOUT_S,
                        on_message=on_message,
                        more_headers=parameter_headers(tool.definition, call.arguments),
                    )
                )
            result = await check_call_result(raw)
            if result.get("resultType", "complete") != "complete":
                raise trouble.needs_input(connection.name)
        except Unusable as reason:
            problem = trouble.garbage(connection.name, str(reason))
            self._breaker.failed(key, problem)
            raise problem from reason
        except Trouble as problem:
            self._breaker.failed(key, problem)
            raise
        except RpcError as error:
            self._breaker.served(key)
            return "error", trouble.error_result(f"{connection.name}: {error.message}")
        self._breaker.served(key)
        self._on_served(connection)
        return ("error" if result.get("isError") is True else "ok"), raw


def changed(tool: str) -> str:
    return (
        f"The tool {tool} is not what it was when you listed it, or its person has to look at a "
        "change of it first (under Tools). List the tools again, and do not call it meanwhile."
    )
