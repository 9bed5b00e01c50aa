"""`python -m ocmt_management`: serve, migrate, make a sign-in link, or print the audit trail.

Exit codes: 2 for wrong arguments, 78 for wrong settings, 75 if a port is taken, 1 for any other
failure.
"""

import argparse
import asyncio
import errno
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
import uvicorn
from ocmt_common.bounded_http import BoundedHttp
from ocmt_common.handover import Handover, HandoverServer, notify_ready
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.host_listener import HostListener, only_from
from ocmt_common.logs import configure_logging
from ocmt_common.open_files import allow_many_open_files
from ocmt_common.problems import Problem
from ocmt_common.settings import SettingsError, load
from ocmt_common.sockets import Socket
from starlette.types import ASGIApp

from ocmt_management.admin.audit_rows import as_text, exported, json_lines
from ocmt_management.app import create_app
from ocmt_management.auth.service import find_by_address
from ocmt_management.auth.sign_in import operator_link
from ocmt_management.clock import utc_now
from ocmt_management.db import Database
from ocmt_management.email_addresses import normalise
from ocmt_management.hosts_app import hosts_app
from ocmt_management.migrations import MigrationError, migrate, revision_of
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.key_providers import KeyProviderError, open_keys
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault_key_command import vault_key_command

log = structlog.get_logger(__name__)

_EXIT_SETTINGS = 78
_EXIT_PORT_TAKEN = 75
_EXIT_FAILED = 1

_DRAIN_S = 10
MAX_FRAME_BYTES = 256 * 1024
_BACKLOG = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    configure_logging()
    allow_many_open_files()
    try:
        settings = load(ManagementSettings, env_file=chosen.env_file)
        # `sign-in-link` and `vault-key` never migrate: after a pull the checkout may have newer
        # migrations than the release that serves.
        if chosen.command not in ("sign-in-link", "vault-key") and not chosen.migrated:
            asyncio.run(migrate(settings.database, expand_only=chosen.expand))
        return _run(settings, chosen)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _EXIT_SETTINGS
    except (MigrationError, KeyProviderError) as error:
        print(error, file=sys.stderr)
    except Problem as problem:
        print(problem.detail, file=sys.stderr)
    return _EXIT_FAILED


def _run(settings: ManagementSettings, chosen: argparse.Namespace) -> int:
    match chosen.command:
        case "sign-in-link":
            print(asyncio.run(_sign_in_link(settings, chosen.email)))
        case "audit":
            asyncio.run(
                _print_audit(settings, as_json=chosen.json, days=chosen.days, email=chosen.email)
            )
        case "vault-key":
            asyncio.run(vault_key_command(settings, chosen.action))
        case "migrate":
            pass
        case _:
            return _serve(settings, chosen.env_file)
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--env-file", type=Path, default=argparse.SUPPRESS, help="file with settings, one a line"
    )
    parser = argparse.ArgumentParser(
        prog="python -m ocmt_management",
        description="OCMT's management server. Settings: docs/settings.md.",
        parents=[shared],
    )
    parser.set_defaults(command="serve", env_file=None, migrated=False, expand=False)
    commands = parser.add_subparsers(dest="command", metavar="command")
    serve = commands.add_parser("serve", parents=[shared], help="migrate, then serve (the default)")
    serve.add_argument(
        "--migrated",
        action="store_true",
        help="the deploy has migrated; a release may also serve on a newer release's tables",
    )
    migrating = commands.add_parser(
        "migrate", parents=[shared], help="bring the database up to date"
    )
    migrating.add_argument(
        "--expand",
        action="store_true",
        help="only those migrations that the release in service can run with",
    )
    link = commands.add_parser(
        "sign-in-link", parents=[shared], help="print a link that signs in once, in any browser"
    )
    link.add_argument("--email", type=_address, help="the user; default: the first admin")
    vault_key = commands.add_parser(
        "vault-key", parents=[shared], help="show which keys are used, make one, or rewrap"
    )
    vault_key.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=["show", "new", "rewrap"],
        help="new: print a key to put in front of VAULT_KEY; rewrap: encrypt all with the first",
    )
    audit = commands.add_parser(
        "audit", parents=[shared], help="print the audit trail, oldest first"
    )
    audit.add_argument("--json", action="store_true", help="one JSON object per line, for export")
    audit.add_argument("--days", type=_days, help="only the last so many days; default: all")
    audit.add_argument("--email", type=_address, help="only events by or about this user")
    return parser


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 3650):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to 3650")
    return int(text)


def _address(text: str) -> str:
    try:
        return normalise(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error


async def _sign_in_link(settings: ManagementSettings, email: str | None) -> str:
    if await revision_of(settings.database) is None:
        raise MigrationError(
            "The database is not set up yet. Start the server once, or run `python -m "
            "ocmt_management migrate` with the same settings."
        )
    database = Database(settings.database)
    try:
        async with database.write() as session:
            _, link = await operator_link(session, settings=settings, clock=utc_now, email=email)
        return link
    finally:
        await database.close()


async def _print_audit(
    settings: ManagementSettings, *, as_json: bool, days: int | None, email: str | None
) -> None:
    database = Database(settings.database)
    try:
        user_id = None
        if email is not None:
            async with database.read() as session:
                user_id = await find_by_address(session, email)
            if user_id is None:
                raise Problem(404, "user-unknown", f"No user has the address {email}.")
        since = None if days is None else utc_now() - timedelta(days=days)
        async for batch in exported(database, since=since, user_id=user_id):
            if as_json:
                sys.stdout.write(json_lines(batch))
            else:
                sys.stdout.writelines(f"{as_text(row)}\n" for row in batch)
    finally:
        await database.close()


def _serve(settings: ManagementSettings, env_file: Path | None) -> int:
    # Held back until the server handles it, since the signal's default action ends the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    handover = Handover.from_environment()
    credentials = HostCredentials(settings.tls_dir) if settings.tls_dir else None
    keys = KeyRing(asyncio.run(open_keys(settings)))
    app = create_app(settings, credentials=credentials, keys=keys)
    for_host = None
    try:
        listener = handover.listener("api") or _listen(settings.host, settings.port, "")
        if credentials is not None:
            tls = handover.listener("tls") or _listen(settings.tls_host, settings.tls_port, "TLS_")
            config = _config(hosts_app(app), handover, http=only_from("agent"))
            for_host = HostListener(tls, config, credentials.server)
    except _CannotListen as error:
        print(error, file=sys.stderr)
        return error.exit_code
    server = _Server(_config(app, handover, http=BoundedHttp, public=True), handover)
    server.reread = partial(_reread_keys, keys, env_file)
    # uvicorn raises the signal that stopped it again when it is done; a clean exit is not a crash.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log.info("serving", host=settings.host, port=settings.port)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve_on(listener, for_host=for_host))
    return 0 if server.started else _EXIT_FAILED


def _config(
    app: ASGIApp, handover: Handover, *, http: type[asyncio.Protocol], public: bool = False
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # Only a proxy on this machine may name the client's address.
        proxy_headers=public,
        forwarded_allow_ips="127.0.0.1",
        http=http,
        ws=Socket,
        ws_max_size=MAX_FRAME_BYTES,
        timeout_graceful_shutdown=handover.drain(_DRAIN_S),
        lifespan="on" if public else "off",
    )


class _Server(HandoverServer):
    reread: Callable[[], Awaitable[None]]
    """Called at SIGHUP."""
    _rereading: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        notify_ready()

    def _hang_up(self) -> None:
        before = self._rereading

        async def one_by_one() -> None:
            if before is not None:
                await asyncio.wait({before})
            await self.reread()

        self._rereading = asyncio.create_task(one_by_one())


async def _reread_keys(keys: KeyRing, env_file: Path | None) -> None:
    """Use the keys that VAULT_KEY has now. With wrong settings the earlier ones stay."""
    try:
        keys.use(await open_keys(load(ManagementSettings, env_file=env_file)))
    except (SettingsError, KeyProviderError) as error:
        log.error("vault keys not read again", reason=str(error))
    else:
        log.info("vault keys read again", keys=keys.ids)


class _CannotListen(Exception):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def _listen(host: str, port: int, prefix: str) -> socket.socket:
    """Listen on `host` and `port`. Raises `_CannotListen`.

    `prefix` goes before HOST and PORT in its message: `TLS_` for the second listener.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _CannotListen(
                f"Port {port} on {host} is taken. Stop the program that listens on it, or choose "
                f"another {prefix}PORT.",
                _EXIT_PORT_TAKEN,
            ) from error
        raise _CannotListen(
            f"Cannot listen on {host}, port {port}: {error.strerror}. Check {prefix}HOST and "
            f"{prefix}PORT.",
            _EXIT_SETTINGS,
        ) from error


if __name__ == "__main__":
    sys.exit(main())
