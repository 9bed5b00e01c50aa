"""Bounds on a request's head and on the time it takes, for every listener.

uvicorn with httptools has none: endless headers fill the memory before anyone is asked for a token,
and a connection whose head or body never ends stays open for ever. The bound on a body's bytes is
the application's (`web.BodyLimitMiddleware`), as it differs by route.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ocmt_common.problems import Problem

_LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class RequestBounds:
    """What a client may send, and how slowly."""

    head_bytes: int = 64 * 1024
    """Request line and headers together; also the trailers of a body."""
    headers: int = 100
    patience_s: float = 20.0
    """A head is complete, and a body has moved, within once to twice this time. A slow upload and a
    long answer are as welcome as ever."""


class _Incomplete(Enum):
    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol within `RequestBounds`; for `uvicorn.Config(http=…)`.

    A WebSocket's upgrade is a request like any other until it is complete. Time is looked at by one
    timer a connection, which re-arms itself: a request costs no timer and no reading of the clock.
    """

    bounds = RequestBounds()

    _incomplete = _Incomplete.HEAD
    _received = False
    _outside_bytes = 0
    """Bytes since the last complete head or the last piece of a body."""
    _moved = False
    """Whether the incomplete head or body moved since the timer's last look."""
    _looking: asyncio.TimerHandle | None = None
    _refused: Problem | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._stop_looking()  # the connection is another protocol's from here
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
            raise RequestRefused  # so that the parser stops here
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
            self._moved = waits  # its time begins when this server went on
            self._look_later()
        elif not self._received:
            self.transport.close()  # a connection opened ahead of need: nothing to answer
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
        """Whether the client cannot go on before this server does."""
        match self._incomplete:
            case _Incomplete.NOTHING:
                return False
            case _Incomplete.HEAD:  # of the next request, behind the present answer
                return self.cycle is not None and not self.cycle.response_complete
            case _Incomplete.BODY:
                return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def _head_too_large(self) -> Problem:
        return Problem(
            431,
            "headers-too-large",
            f"Send at most {self.bounds.headers} headers, {self.bounds.head_bytes} bytes together.",
        )

    def _refuse(self, problem: Problem) -> None:
        """Answer, if no answer began, and close once the client had time to read it.

        Closing at once, with bytes of the client unread, would reset the connection and lose the
        answer on its way; so what still comes is thrown away for a moment.
        """
        self._refused = problem
        self._stop_looking()
        self._unset_keepalive_if_required()
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if cycle is not None:
            # For the application, which writes nothing more.
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
    """Ends the parsing of a head whose request is answered already."""
