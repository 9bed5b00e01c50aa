"""PgBouncer in front of a test's PostgreSQL, like a hosted database's pooler."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocmt_testing.needs import require

_WITHIN_S = 10


@contextmanager
def pooler(postgres_socket: Path, *, certificate: Path | None = None) -> Iterator[int]:
    """Run a pooler in transaction mode on 127.0.0.1, and yield its port.

    It has two connections to PostgreSQL, so that a client's transactions use different ones. With a
    `certificate` (PEM, key first), it accepts only TLS.
    """
    require("pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="ocmt-pgbouncer-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    lines = [
        "[databases]",
        f"* = host={postgres_socket}",
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =",
        f"auth_type = trust\nauth_file = {folder / 'users'}",
        "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 50",
    ]
    (folder / "users").write_text('"postgres" ""\n')
    if certificate is not None:
        shutil.copy(certificate, folder / "certificate.pem")
        lines.append(
            "client_tls_sslmode = require\n"
            f"client_tls_key_file = {folder / 'certificate.pem'}\n"
            f"client_tls_cert_file = {folder / 'certificate.pem'}"
        )
    (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = "postgres"
        account = pwd.getpwnam(user)
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    running = subprocess.Popen(
        [str(program), "--quiet", str(folder / "pgbouncer.ini")],
        user=user,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield port
    finally:
        running.terminate()
        running.wait()
        shutil.rmtree(folder)


def _wait_for(port: int) -> None:
    give_up = time.monotonic() + _WITHIN_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > give_up:
            raise TimeoutError(f"PgBouncer does not listen after {_WITHIN_S} s")
        time.sleep(0.02)
