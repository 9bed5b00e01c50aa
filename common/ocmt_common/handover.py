"""Replaces a running server without losing requests.

Both releases share a listening socket, which systemd (or the deploy's holder) opens and passes on
with the LISTEN_FDS protocol, so either release accepts pending connections. A new release starts in
*standby*: it answers on its readiness socket, and accepts from the shared socket once `current`
points to it. `SIGUSR1` makes it read `current` again.

Outside of a release (in a checkout, with `./ocmt up`), none of this applies, and a server opens its
own port.
"""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ocmt_common.host_listener import HANDSHAKE_S, HostListener

RELEASE_DIR = "OCMT_RELEASE_DIR"
GATE_SOCKET = "OCMT_GATE_SOCKET"
DRAIN_S = "OCMT_DRAIN_S"
_FIRST_FD = 3
# Longer than a request takes to arrive on a new connection, so that none is dropped unread.
_LAME_DUCK_S = 1.0
# For clients that have connected but not written yet, such as preconnections of browsers.
_FIRST_REQUEST_S = 5.0
_LOOK_EVERY_S = 0.05
_BACKLOG = 1024


def release_dir(environ: Mapping[str, str] | None = None) -> Path | None:
    """The folder of the running release; `None` outside of a release."""
    value = (os.environ if environ is None else environ).get(RELEASE_DIR)
    return Path(value) if value else None


@dataclass(frozen=True, slots=True)
class Handover:
    """What the service manager passes on: the shared listeners, readiness socket and release."""

    listeners: Mapping[str, int]
    """Name → file descriptor; the names are FileDescriptorName= of the socket units."""
    gate: Path | None
    release: Path | None
    drain_s: float | None = None
    """Seconds that a replaced release may take to finish its requests; `None` for the default."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Handover":
        """Read sd_listen_fds(3)'s variables; those meant for another process are ignored."""
        given = os.environ if environ is None else environ
        listeners: dict[str, int] = {}
        if given.get("LISTEN_PID") == str(os.getpid()):
            count = int(given.get("LISTEN_FDS", "0"))
            names = given.get("LISTEN_FDNAMES", "").split(":")
            for index in range(count):
                name = names[index] if index < len(names) else ""
                listeners[name] = _FIRST_FD + index
                os.set_inheritable(_FIRST_FD + index, False)
        gate = given.get(GATE_SOCKET)
        if gate:
            # Handled from the start, since the signal's default action ends the process.
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        drain = given.get(DRAIN_S)
        return cls(
            listeners,
            Path(gate) if gate else None,
            release_dir(given),
            float(drain) if drain else None,
        )

    def drain(self, otherwise_s: int) -> int:
        """The drain in whole seconds, as uvicorn's `timeout_graceful_shutdown` requires."""
        return otherwise_s if self.drain_s is None else max(1, round(self.drain_s))

    def listener(self, name: str) -> socket.socket | None:
        """The shared listener `name`; `None` if none was passed on."""
        if name not in self.listeners:
            return None
        listener = socket.socket(fileno=os.dup(self.listeners[name]))
        listener.set_inheritable(False)
        listener.setblocking(False)
        return listener

    @property
    def admitted(self) -> bool:
        """Whether `current` points to this release; true outside of a release."""
        if self.release is None or self.gate is None:
            return True
        return (self.release.parent.parent / "current").resolve() == self.release.resolve()

    async def admission(self) -> None:
        """Wait until `current` points to this release."""
        if self.admitted:
            return
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, asked.set)
        while not self.admitted:
            await asked.wait()
            asked.clear()

    def without_gate(self) -> "Handover":
        """A copy for a second server in the same process, without the readiness socket."""
        return replace(self, gate=None)

    def open_gate(self) -> socket.socket | None:
        """Open the readiness socket, replacing one left by a killed process."""
        if self.gate is None:
            return None
        self.gate.parent.mkdir(parents=True, exist_ok=True)
        self.gate.unlink(missing_ok=True)
        gate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        gate.bind(str(self.gate))
        gate.listen(16)
        gate.setblocking(False)
        return gate


class HandoverServer(uvicorn.Server):
    """A uvicorn server that accepts once its release is admitted, and drains when it is stopped.

    A request on a connection that was just accepted would be dropped unread. So the server stops
    accepting but serves for another second, with `Connection: close`, and for up to 5 s while a
    connection has had no request yet.
    """

    def __init__(self, config: uvicorn.Config, handover: Handover) -> None:
        super().__init__(config)
        self._listener: socket.socket | None = None
        self._for_host: HostListener | None = None
        self._handover = handover
        self._lame_duck_s = 0.0 if handover.release is None else _LAME_DUCK_S
        self._first_request_s = _FIRST_REQUEST_S
        self._admission: asyncio.Task[None] | None = None

    async def serve_on(
        self, listener: socket.socket, *, for_host: HostListener | None = None
    ) -> None:
        """Serve `listener`, and `for_host` if given, until the server stops, and close them."""
        self._listener = listener
        self._for_host = for_host
        with listener, for_host.listener if for_host else contextlib.nullcontext():
            await self.serve(sockets=[])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        gate = self._handover.open_gate()
        if gate is not None:
            await self._accept_from(gate)
        if self._listener is None:
            return
        if self._for_host is not None:
            self._for_host.config.load()
        if self._handover.admitted:
            await self._accept(self._listener)
        else:
            self._admission = asyncio.create_task(self._admit(self._listener))

    async def _admit(self, listener: socket.socket) -> None:
        await self._handover.admission()
        await self._accept(listener)

    async def _accept(self, listener: socket.socket) -> None:
        await self._accept_from(listener)
        if (other := self._for_host) is not None:
            await self._accept_from(other.listener, config=other.config, tls=other.tls)

    async def _accept_from(
        self,
        listener: socket.socket,
        *,
        config: uvicorn.Config | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        serving = config or self.config

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = serving.http_protocol_class(  # type: ignore[call-arg]
                config=serving,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )
            return made

        loop = asyncio.get_running_loop()
        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(protocol, sock=listener, backlog=_BACKLOG)
        else:
            server = await loop.create_server(
                protocol,
                sock=listener,
                backlog=_BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_S if tls else None,
            )
        self.servers.append(server)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._admission is not None:
            self._admission.cancel()
        if self._lame_duck_s:
            for server in self.servers:
                server.close()
            self.server_state.default_headers = [
                *self.server_state.default_headers,
                (b"connection", b"close"),
            ]
            await asyncio.sleep(self._lame_duck_s)
            await self._first_requests()
        await super().shutdown(sockets)

    async def _first_requests(self) -> None:
        """Wait for a limited time until every connection has had a request."""
        connections = self.server_state.connections
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._first_request_s):
                while any(map(_is_unused, connections)):  # noqa: ASYNC110 (uvicorn has no event)
                    await asyncio.sleep(_LOOK_EVERY_S)


def _is_unused(connection: object) -> bool:
    # uvicorn's HTTP protocols have a `cycle` per request; its WebSocket protocols have none.
    return getattr(connection, "cycle", connection) is None


async def standby(handover: Handover, version: str) -> bool:
    """Answer only on the readiness socket until the release is admitted.

    For a server that cannot run beside the previous release: call this after all startup steps that
    do not need that release's data. Returns `False` if the server is stopped first.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"status": "standby", "version": version})(scope, receive, send)

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    gate = _Gate(config, handover)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(gate.serve(sockets=[]))
        asked = [asyncio.create_task(handover.admission()), asyncio.create_task(ended.wait())]
        await asyncio.wait([*asked, serving], return_when=asyncio.FIRST_COMPLETED)
        for task in asked:
            task.cancel()
        gate.should_exit = True
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(signum)  # from here on the signal's default applies
    return not ended.is_set()


class _Gate(HandoverServer):
    """Serves only the readiness socket, and leaves signals to the process."""

    def __init__(self, config: uvicorn.Config, handover: Handover) -> None:
        super().__init__(config, handover)
        self._lame_duck_s = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        notify_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def notify_ready() -> None:
    """Notify systemd (`Type=notify`) that the process serves or is in standby."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.connect("\0" + address[1:] if address.startswith("@") else address)
        notifier.send(b"READY=1")
