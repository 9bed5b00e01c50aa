"""Limits on a request's head and on the time it takes, for every listener.

uvicorn with httptools has none: endless headers would fill the memory before authentication, and a
connection with an endless head or body would stay open forever. The limit on a body's size depends
on the route (`web.BodyLimitMiddleware`).
"""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ocmt_common.problems import Problem

_LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class RequestBounds:
    """Limits on a request's head, and on pauses while it arrives."""

    head_bytes: int = 64 * 1024
    """Request line and headers together; also the trailers of a body."""
    headers: int = 100
    patience_s: float = 20.0
    """A head must be complete, and a body must progress, within one to two times this time. Slow
    uploads and long answers are not affected."""


class _Incomplete(Enum):
    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with `RequestBounds`, for `uvicorn.Config(http=…)`.

    The limits also apply to a WebSocket's upgrade request. Each connection has one timer that
    re-arms itself, so that a request needs neither a timer nor a reading of the clock.
    """

    bounds = RequestBounds()

    _incomplete = _Incomplete.HEAD
    _received = False
    _outside_bytes = 0
    """Bytes received since the last complete head or piece of a body."""
    _moved = False
    """Whether the incomplete head or body progressed since the timer last fired."""
    _looking: asyncio.TimerHandle | None = None
    _refused: Problem | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._stop_looking()  # another protocol takes over the connection
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            return
        if self._incomplete is _Incomplete.NOTHING:
            self._begin_head()
        if not self._received:
            self._received = self._moved = True
        self._outside_bytes += len(data)
        super().data_received(data)
        if self._outside_bytes > self.bounds.head_bytes:
            self._refuse(self._head_too_large())

    def on_message_begin(self) -> None:
        self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.bounds.head_bytes or len(self.headers) > self.bounds.headers:
            self._refuse(self._head_too_large())
            raise RequestRefused  # stops the parser
        self._incomplete = _Incomplete.BODY
        self._outside_bytes = 0
        self._moved = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._outside_bytes = 0
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._incomplete = _Incomplete.NOTHING
        self._outside_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._refused is None:
            super().send_400_response(msg)

    def _begin_head(self) -> None:
        if self._incomplete is not _Incomplete.HEAD:
            self._incomplete = _Incomplete.HEAD
            self._moved = True

    def _look_later(self) -> None:
        self._looking = self.loop.call_later(self.bounds.patience_s, self._look)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self) -> None:
        waits = self._waits_for_us()
        if self._incomplete is _Incomplete.NOTHING or self._moved or waits:
            self._moved = waits  # its time starts only when this server has continued
            self._look_later()
        elif not self._received:
            self.transport.close()  # a preconnection without a request: no answer
        else:
            part = "headers" if self._incomplete is _Incomplete.HEAD else "body"
            self._refuse(
                Problem(
                    408,
                    "request-too-slow",
                    f"The request's {part} stopped arriving. Send the request again.",
                )
            )

    def _waits_for_us(self) -> bool:
        """Whether the client is waiting for this server to continue."""
        match self._incomplete:
            case _Incomplete.NOTHING:
                return False
            case _Incomplete.HEAD:  # of a pipelined request, behind the current answer
                return self.cycle is not None and not self.cycle.response_complete
            case _Incomplete.BODY:
                return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def _head_too_large(self) -> Problem:
        return Problem(
            431,
            "headers-too-large",
            f"Send at most {self.bounds.headers} headers, {self.bounds.head_bytes} bytes in all.",
        )

    def _refuse(self, problem: Problem) -> None:
        """Answer with `problem` if no response has begun, and close once the client could read it.

        Closing at once, with unread bytes, would reset the connection and lose the response, so
        incoming bytes are discarded for a moment first.
        """
        self._refused = problem
        self._stop_looking()
        self._unset_keepalive_if_required()
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if cycle is not None:
            # Keep the application from writing.
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
        if answering:
            self.transport.abort()
            return
        response = problem.response()
        lines = [b"%s: %s\r\n" % header for header in response.raw_headers]
        head = b"".join([STATUS_LINE[problem.status], *lines, b"connection: close\r\n\r\n"])
        self.flow.resume_reading()
        self.transport.write(head + bytes(response.body))
        if self.transport.can_write_eof():  # TLS has no half-closed connections
            self.transport.write_eof()
        self._looking = self.loop.call_later(_LINGER_S, self.transport.close)


class RequestRefused(Exception):
    """Raised to stop parsing a head whose request has already been answered."""
