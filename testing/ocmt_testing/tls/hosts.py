"""TLS_DIR folders as `ocmt setup` writes them, or with errors that a test chooses."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from ocmt_cli.trust.authority import LIFE, Authority, issue, new_authority
from ocmt_common.bounded_http import BoundedHttp
from ocmt_common.handover import Handover, HandoverServer
from ocmt_common.host_credentials import CA_FILE, HOST_FILE, TOKENS_FILE, HostCredentials
from ocmt_common.host_listener import HostListener, only_from
from ocmt_common.sockets import Socket
from starlette.types import ASGIApp

TOKEN = "token-of-both-hosts-0123456789abcdef"
LONG_AGO = timedelta(days=3) + LIFE
"""A certificate issued this long ago has expired."""


class Hosts:
    """A CA and the folders of hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = new_authority(datetime.now(UTC))

    def write(
        self,
        name: str,
        *,
        roles: Sequence[str],
        address: str = "127.0.0.1",
        tokens: Sequence[str] = (TOKEN,),
        issued_ago: timedelta = timedelta(),
        authority: Authority | None = None,
    ) -> Path:
        """Write a host's TLS_DIR. Returns the folder."""
        by = authority or self.authority
        now = datetime.now(UTC) - issued_ago
        place = self.folder / name
        place.mkdir(exist_ok=True)
        texts = {
            HOST_FILE: issue(by, host=name, address=address, roles=roles, now=now),
            CA_FILE: by.certificate,
            TOKENS_FILE: "".join(f"{token}\n" for token in tokens),
        }
        for file, text in texts.items():
            draft = place / f".{file}"
            draft.write_text(text)
            draft.replace(place / file)
        return place

    def management(self) -> HostCredentials:
        return HostCredentials(self.write("front", roles=["mgmt"]))

    def agent_server(self) -> HostCredentials:
        return HostCredentials(self.write("agents-1", roles=["agent"]))


class _Server(HandoverServer):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving_hosts(
    app: ASGIApp, credentials: HostCredentials, *, role: str
) -> AsyncIterator[int]:
    """Serve `app` to hosts with `role`, and yield the TLS port."""

    def config(http: type[asyncio.Protocol]) -> uvicorn.Config:
        return uvicorn.Config(
            app, http=http, ws=Socket, log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )

    server = _Server(config(BoundedHttp), Handover({}, None, None))
    plain, tls = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    port: int = tls.getsockname()[1]
    for_host = HostListener(tls, config(only_from(role)), credentials.server)
    task = asyncio.create_task(server.serve_on(plain, for_host=for_host))
    try:
        yield port
    finally:
        server.should_exit = server.force_exit = True
        await task
