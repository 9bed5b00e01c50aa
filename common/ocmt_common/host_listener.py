"""The listener for the other host: TLS, restricted to certificates of one role."""

import asyncio
import ssl
from dataclasses import dataclass
from socket import socket

import uvicorn

from ocmt_common.bounded_http import BoundedHttp, RequestRefused
from ocmt_common.host_credentials import has_role
from ocmt_common.problems import Problem

HANDSHAKE_S = 10.0


@dataclass(frozen=True, slots=True)
class HostListener:
    """A TLS listener that `HandoverServer.serve_on` serves in addition to its plain one."""

    listener: socket
    config: uvicorn.Config
    """The configuration of the application for the other host, with `only_from` as protocol."""
    tls: ssl.SSLContext


def only_from(role: str) -> type[BoundedHttp]:
    """An HTTP protocol class that refuses peers whose certificate lacks `role`.

    The certificate is checked once per connection. A WebSocket's upgrade is refused like any
    request.
    """

    class OnlyFrom(BoundedHttp):
        _let_in = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._let_in = has_role(transport.get_extra_info("peercert"), role)

        def on_headers_complete(self) -> None:
            if not self._let_in:
                self._refuse(
                    Problem(
                        403,
                        "wrong-host",
                        f"The certificate is not of a host with the role {role}. Operator: "
                        "compare the inventory's roles, then run `./ocmt setup` for both hosts.",
                    )
                )
                raise RequestRefused
            super().on_headers_complete()

    return OnlyFrom
