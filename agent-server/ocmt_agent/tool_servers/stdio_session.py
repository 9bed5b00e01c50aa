"""One run of a tool server, with requests and answers over its standard input and output.

The server is untrusted: it may flood, answer twice or never, send requests of its own, or end at
any time. Then only its own user's calls fail.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import structlog

from ocmt_agent.clock import Clock
from ocmt_agent.tool_servers import json_rpc
from ocmt_agent.tool_servers.output import (
    MIB,
    MOST_ANSWER_BYTES,
    Allowance,
    LastOutput,
    LineReader,
    TooLong,
)

log = structlog.get_logger(__name__)

_INITIALIZE = (
    f'{{"protocolVersion":"{json_rpc.PROTOCOL_VERSION}","capabilities":{{}},'
    '"clientInfo":{"name":"ocmt","version":"1"}}'
).encode()
_READ_PER_SECOND = 16 * MIB
"""Reading is slowed above this rate, so that one server's output does not block the event loop."""
_MOST_UNASKED = 32 * MIB
"""The limit on output that answers no request; `_UNASKED_PER_SECOND` of it is regained."""
_UNASKED_PER_SECOND = MIB // 4
_LINE_COST = 1024
"""Bytes added for each line, since reading a short line takes as long as reading a kilobyte."""
_MOST_REPLIES_WAITING = 64

Output = tuple[Literal["stdout", "stderr"], bytes]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended. `code` is `None` if it is unknown or this server ended the process."""

    code: int | None
    out_of_memory: bool = False


class StdioProcess(Protocol):
    """A started tool server. One task reads its output, another writes its input."""

    async def read(self) -> Output | None:
        """The next piece of output, with backpressure; `None` at its end."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to standard input, and wait until there is room for more."""
        ...

    async def end(self) -> Exit:
        """Kill the process if it runs, and clean up. Idempotent."""
        ...


class SessionEnded(Exception):
    """The server has ended; `str()` says why."""


class TimedOut(Exception):
    """There was no answer in time; the server continues to run."""


class AnswerTooLarge(Exception):
    """The answer was larger than `MOST_ANSWER_BYTES`; the server continues to run."""


class StdioSession:
    """Serves concurrent requests, matching answers by request numbers of its own."""

    def __init__(self, process: StdioProcess, *, clock: Clock, secrets: Iterable[str]) -> None:
        self.initialized = b""
        """The server's raw result of `initialize`."""
        self.reason: str | None = None
        """Why the server ended; `None` while it runs."""
        self.answered = 0
        self._process = process
        self._clock = clock
        now_s = clock.monotonic()
        self._pace = Allowance(_READ_PER_SECOND, _READ_PER_SECOND, now_s=now_s)
        self._unasked = Allowance(_MOST_UNASKED, _UNASKED_PER_SECOND, now_s=now_s)
        self._lines = LineReader(MOST_ANSWER_BYTES)
        self._last_output = LastOutput(secrets)
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks = [asyncio.create_task(work()) for work in (self._read, self._write)]
        self._ending: asyncio.Task[None] | None = None

    @property
    def last_output(self) -> list[str]:
        return self._last_output.lines()

    @property
    def waiting(self) -> int:
        """The number of requests without an answer."""
        return len(self._waiting)

    async def initialize(self, *, within_s: float) -> None:
        """Perform MCP's handshake. If that fails, ends the server and raises `SessionEnded`."""
        try:
            outcome = await self.request("initialize", _INITIALIZE, within_s=within_s)
        except TimedOut as error:
            raise await self.end(f"it did not answer within {within_s:g} s of its start") from error
        except AnswerTooLarge as error:
            raise await self.end("its first answer was too large") from error
        name, _, value = outcome.partition(b":")
        if name != b'"result"':
            raise await self.end("it refused to start")
        self.initialized = value
        self._send(json_rpc.notification_line("notifications/initialized"))

    async def request(self, method: str, params: bytes | None, *, within_s: float) -> bytes:
        """Send a request. Returns its raw outcome: `"result":…` or `"error":…`.

        Raises `TimedOut`, `AnswerTooLarge` or `SessionEnded`; a server that answered nothing at all
        within `within_s` seconds is ended. If the caller is cancelled, the server is sent a
        cancellation.
        """
        if self.reason is not None:
            raise SessionEnded(self.reason)
        self._numbers += 1
        number, before = self._numbers, self.answered
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._send(json_rpc.request_line(number, method, params))
        try:
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError as error:
            if self.answered == before:
                raise await self.end(f"it answered nothing for {within_s:g} s") from error
            self._send(json_rpc.cancelled_line(number))
            raise TimedOut from error
        except asyncio.CancelledError:
            self._send(json_rpc.cancelled_line(number))
            raise
        finally:
            self._waiting.pop(number, None)

    async def end(self, reason: str) -> SessionEnded:
        """End the server; all requests in progress fail with `reason`. The first reason counts."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(reason))
        await asyncio.shield(self._ending)
        return SessionEnded(self.reason or reason)

    async def _end(self, reason: str) -> None:
        self._fail(reason)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._process.end()

    def _fail(self, reason: str) -> None:
        """Fail all waiting requests with `reason`, or with an earlier one."""
        self.reason = self.reason or reason
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SessionEnded(self.reason))

    def _send(self, line: bytes) -> None:
        self._outgoing.put_nowait(line)

    async def _write(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # it ended: reading says how
            while True:
                await self._process.write(await self._outgoing.get())

    async def _read(self) -> None:
        try:
            while (output := await self._process.read()) is not None:
                now_s = self._clock.monotonic()
                kind, data = output
                cost = len(data) + _LINE_COST * data.count(b"\n")
                too_much = self._unasked.take(cost, now_s=now_s) > 0
                if kind == "stderr":
                    self._last_output.feed(data)
                else:
                    for line in self._lines.feed(data):
                        self._on_line(line)
                if too_much:
                    reason = f"it wrote more than {_MOST_UNASKED // MIB} MB that are no answer"
                    break
                if wait_s := self._pace.take(len(data), now_s=now_s):
                    await asyncio.sleep(wait_s)
            else:
                reason = _explained(await self._process.end())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.warning("a tool server's output broke off", reason=str(error))
            reason = "its connection to the container broke"
        self._fail(reason)
        # Not awaited, since it waits for this task.
        self._ending = self._ending or asyncio.create_task(self._end(reason))

    def _on_line(self, line: bytes | TooLong) -> None:
        if isinstance(line, TooLong):
            number = json_rpc.number_in(line.tail) or json_rpc.number_in(line.head)
            answer = self._waiting.get(number or 0)
            if answer is not None and not answer.done():
                self.answered += 1
                self._unasked.give_back(line.size)
                answer.set_exception(AnswerTooLarge())
            return
        message = json_rpc.read_line(line)
        if isinstance(message, json_rpc.Answer):
            answer = self._waiting.get(message.number)
            if answer is not None and not answer.done():
                self.answered += 1
                self._unasked.give_back(len(line) + _LINE_COST)
                answer.set_result(message.outcome)
        elif message is not None and self._outgoing.qsize() < _MOST_REPLIES_WAITING:
            self._send(json_rpc.reply_line(message))


def _explained(ended: Exit) -> str:
    if ended.out_of_memory:
        return "it needed more memory than its container has"
    if ended.code is None:
        return "it ended"
    return f"it ended with the exit code {ended.code}"
