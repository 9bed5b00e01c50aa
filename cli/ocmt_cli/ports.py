"""Checks whether ports are free, and finds the processes that hold them."""

import socket
from collections.abc import Callable
from pathlib import Path

from ocmt_cli.failure import CommandFailed
from ocmt_cli.processes import PROC

_LISTEN = "0A"


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        # As the servers do: a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """The process that listens on `port`, such as `nginx (pid 71)`; `None` if it is not visible."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            rows = (PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in PROC.iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            try:
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
            except OSError:  # it has ended meanwhile
                continue
            return f"{name} (pid {process.name})"
    return None


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        return any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir())
    except OSError:
        return False


def require_free(ports: dict[int, str], *, instead: Callable[[int], str]) -> None:
    """Raise `CommandFailed` for the first taken port of `ports` (port → its purpose).

    The first port is the page's; `instead` returns the command for another, free port.
    """
    for port, purpose in ports.items():
        if not is_free(port):
            taken_by = holder(port) or "another program"
            raise CommandFailed(
                f"Port {port} ({purpose}) is taken by {taken_by}. Stop that program, or choose "
                f"another port: {instead(free_base(next(iter(ports)) + 100))}",
                exit_code=75,
            )


def free_base(start: int) -> int:
    """The first of `start`, `start` + 100, … that is free with the two ports derived from it.

    `start` itself if there is none.
    """
    for base in range(start, 64000, 100):
        if all(is_free(port) for port in (base, base + 1000, base + 1001)):
            return base
    return start
