"""`python -m ocmt_agent [--env-file FILE]`: runs the API and the relay in one process.

Exit codes: 78 if the settings, the database or the runtime cannot be used, 75 if a port or the data
folder is taken, 0 after a clean shutdown.
"""

import argparse
import asyncio
import contextlib
import errno
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog
import uvicorn
import uvloop
from ocmt_common.bounded_http import BoundedHttp
from ocmt_common.file_lock import FileLock, try_lock
from ocmt_common.handover import Handover, HandoverServer, notify_ready, standby
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.host_listener import HostListener, only_from
from ocmt_common.logs import configure_logging
from ocmt_common.loopback import is_loopback
from ocmt_common.open_files import allow_many_open_files
from ocmt_common.settings import SettingsError, load
from ocmt_common.version import release_version
from starlette.types import ASGIApp

from ocmt_agent.api.dependencies import Parts
from ocmt_agent.app import create_app
from ocmt_agent.clock import SystemClock
from ocmt_agent.proxy.connection_limit import bounded
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_agent.proxy.server_options import socket_options
from ocmt_agent.records.store import StoreError
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable
from ocmt_agent.runtime.choose import open_runtime
from ocmt_agent.runtime.spec import Limits
from ocmt_agent.settings import AgentSettings
from ocmt_agent.wiring import open_parts, watching

log = structlog.get_logger(__name__)

EX_TEMPFAIL = 75
EX_CONFIG = 78
_DRAIN_S = 5
_RETRY_S = 2.0
_LOCK_POLL_S = 0.05


class AddressMissing(SettingsError):
    """This machine does not have the address to listen on, or the port needs more rights."""


class Taken(Exception):
    """Another process uses a port or the data folder; `str()` says what to do."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ocmt_agent", description=__doc__)
    parser.add_argument("--env-file", type=Path, help="file with the settings (docs/settings.md)")
    configure_logging()
    allow_many_open_files()
    try:
        settings = load(AgentSettings, env_file=parser.parse_args(argv).env_file)
        uvloop.run(serve(settings, Handover.from_environment()))
    except (SettingsError, StoreError, RuntimeUnavailable) as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except Taken as error:
        print(error, file=sys.stderr)
        return EX_TEMPFAIL
    return 0


@contextlib.asynccontextmanager
async def _data_folder(folder: Path, *, wait: bool) -> AsyncIterator[None]:
    """Hold the data folder's lock during the block: only one server may control the agents.

    With `wait`, wait until the previous release unlocks the folder. Otherwise raises `Taken` if
    another server holds the lock. Raises `SettingsError` for a folder that cannot be used.
    """
    while (lock := _try_lock(folder)) is None:
        if not wait:
            raise Taken(f"Another agent server uses {folder}. Stop it, or choose another DATA_DIR.")
        await asyncio.sleep(_LOCK_POLL_S)
    with lock:
        yield


def _try_lock(folder: Path) -> FileLock | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return try_lock(folder / "agent.lock")
    except OSError as error:
        raise SettingsError(
            f"DATA_DIR: {folder} cannot be used ({error.strerror}). Choose a folder that this "
            "user can write to."
        ) from error


async def serve(settings: AgentSettings, handover: Handover) -> None:
    """Serve until SIGTERM or SIGINT. The agents keep running, unless STOP_AGENTS_ON_EXIT is set.

    Raises `SettingsError`, `StoreError`, `RuntimeUnavailable` or `Taken` if it cannot start.

    In a handover, the next release starts once this one unlocks the data folder. The relay accepts
    requests until then, so that none is refused. It finishes its responses during the drain, while
    the next release already runs.
    """
    async with contextlib.AsyncExitStack() as stack:
        released = handover.gate is not None
        if not released:
            await stack.enter_async_context(_data_folder(settings.data_dir, wait=False))
        api_socket = handover.listener("api") or _listen(
            settings.host, settings.port, setting="PORT"
        )
        stack.callback(api_socket.close)
        _refuse_clear_text(api_socket)
        credentials = HostCredentials(settings.tls_dir) if settings.tls_dir else None
        tls_socket = None
        if credentials is not None:
            tls_socket = handover.listener("tls") or _listen(
                settings.tls_host, settings.tls_port, setting="TLS_PORT"
            )
            stack.callback(tls_socket.close)
        runtime = await open_runtime(
            settings.runtime,
            image=settings.openclaw_image,
            node=settings.node_binary,
            openclaw_dir=settings.openclaw_dir,
            state_root=settings.data_dir / "agents",
            limits=Limits(settings.agent_memory_mb, settings.agent_cpus, settings.agent_pids),
            relay_host=settings.relay_host,
            relay_port=settings.relay_port,
        )
        stack.push_async_callback(runtime.close)
        if not handover.admitted and not await standby(handover, release_version("ocmt-agent")):
            return
        relay_socket = await _relay_socket(runtime, settings, handover)
        to_management = await stack.enter_async_context(open_session(credentials))
        ending_last = await stack.enter_async_context(contextlib.AsyncExitStack())
        if released:
            await stack.enter_async_context(_data_folder(settings.data_dir, wait=True))
        parts = await stack.enter_async_context(
            open_parts(settings, runtime=runtime, clock=SystemClock(), credentials=credentials)
        )
        api = _Server(create_app(parts), settings, handover, drain_s=_DRAIN_S)
        relay = _Server(
            relay_app(
                str(settings.management_url),
                parts.registry.is_agent_token,
                to_management,
                credentials,
                for_management=parts.registry.token_for_management,
            ),
            settings,
            handover.without_gate(),
            drain_s=handover.drain(_DRAIN_S),
            http=bounded(),
        )

        def stop() -> None:
            parts.hub.close()  # streams that would never end on their own
            api.should_exit = True

        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop)
        await stack.enter_async_context(watching(parts))
        relaying = asyncio.create_task(
            _serve_relay(relay, relay_socket, runtime, settings, handover)
        )
        relaying.add_done_callback(lambda _: stop())
        ending_last.push_async_callback(_end_relay, relay, relaying)
        log.info("serving", host=settings.host, port=settings.port, runtime=runtime.name)
        notify_ready()
        await api.serve_on(
            api_socket, for_host=_for_management(parts, settings, credentials, tls_socket)
        )


def _refuse_clear_text(api: socket.socket) -> None:
    """Raise `SettingsError` if the API's socket is reachable from other machines.

    systemd may hold a socket that was created before the inventory changed.
    """
    address = api.getsockname()[0]
    if not is_loopback(address):
        raise SettingsError(
            f"The API's port is open on {address} in plain http. Run `./ocmt setup` for this host, "
            "run `systemctl stop 'ocmt-agent@*' ocmt-agent.service ocmt-agent.socket` on it, then "
            "deploy."
        )


def _for_management(
    parts: Parts,
    settings: AgentSettings,
    credentials: HostCredentials | None,
    listener: socket.socket | None,
) -> HostListener | None:
    """The API's TLS listener, for management on another host; `None` without TLS_DIR."""
    if credentials is None or listener is None:
        return None
    app = create_app(parts, for_host=credentials)
    return HostListener(
        listener, _config(app, settings, http=only_from("mgmt")), credentials.server
    )


async def _end_relay(relay: "_Server", relaying: asyncio.Task[None]) -> None:
    """Stop the relay and wait for its drain. Called once the data folder is unlocked."""
    relay.should_exit = True
    await relaying


async def _relay_socket(
    runtime: Runtime, settings: AgentSettings, handover: Handover
) -> socket.socket | None:
    """The relay's socket; `None` while there is no address to listen on. Raises `Taken`."""
    if (shared := handover.listener("relay")) is not None:
        return shared
    try:
        return _listen(
            await runtime.relay_host(),
            settings.relay_port,
            setting="RELAY_PORT",
            # The previous release still serves on this port; new connections wait for this one.
            beside_another=handover.gate is not None,
        )
    except (RuntimeUnavailable, RuntimeFailed, AddressMissing) as error:
        log.warning("the relay has no address yet", reason=str(error))
        return None


async def _serve_relay(
    relay: "_Server",
    listener: socket.socket | None,
    runtime: Runtime,
    settings: AgentSettings,
    handover: Handover,
) -> None:
    """Serve the relay once its address exists. With Docker, the engine creates it with a bridge."""
    while listener is None and not relay.should_exit:
        await asyncio.sleep(_RETRY_S)
        with contextlib.suppress(Taken):
            listener = await _relay_socket(runtime, settings, handover)
    if listener is not None:
        await relay.serve_on(listener)


class _Server(HandoverServer):
    """One of the process's servers, without signal handlers: `serve` handles signals for all."""

    def __init__(
        self,
        app: ASGIApp,
        settings: AgentSettings,
        handover: Handover,
        *,
        drain_s: int,
        http: type[asyncio.Protocol] = BoundedHttp,
    ) -> None:
        super().__init__(_config(app, settings, http=http, drain_s=drain_s), handover)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(
    app: ASGIApp, settings: AgentSettings, *, http: type[asyncio.Protocol], drain_s: int = _DRAIN_S
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        **socket_options(max_frame_bytes=settings.max_frame_bytes),
        timeout_graceful_shutdown=drain_s,
    )


def _listen(host: str, port: int, *, setting: str, beside_another: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=1024, reuse_port=beside_another
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Taken(
                f"Port {port} on {host} is taken. Stop the program that listens on it, or choose "
                f"another {setting}."
            ) from error
        raise AddressMissing(
            f"Cannot listen on {host}, port {port}: {error.strerror}. "
            f"{setting.removesuffix('PORT')}HOST must be an address of this machine, and {setting} "
            "a port that this user may open."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
