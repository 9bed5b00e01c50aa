"""The needs of tests besides Python and git, and how to meet them.

A test declares a need with `@pytest.mark.needs("nginx")`; shared fixtures, such as a PostgreSQL
server, call `require`. If the machine does not meet it, the test is skipped with a reason that the
report of `ocmt test` repeats; if `CI` is set, it fails, since all tests must run there.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from ocmt_cli.doctor.machine import postgresql_programs
from ocmt_cli.testing.tiers import TIERS


@dataclass(frozen=True, slots=True)
class Need:
    """What some tests need. `obstacle` returns why this machine lacks it; `None` if it does not."""

    name: str
    obstacle: Callable[[], str | None]


def _program(path: str, package: str) -> Callable[[], str | None]:
    def obstacle() -> str | None:
        if shutil.which(path, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"):
            return None
        return f"no {path} on this machine (apt-get install {package})"

    return obstacle


def _postgresql() -> str | None:
    if postgresql_programs() is None:
        return "no PostgreSQL server on this machine (apt-get install postgresql)"
    return None


def _root() -> str | None:
    return None if os.geteuid() == 0 else "needs root (run it as root)"


NEEDS = {
    need.name: need
    for need in (
        Need("postgresql", _postgresql),
        Need("pgbouncer", _program("pgbouncer", "pgbouncer")),
        Need("root", _root),
        Need("ssh", _program("ssh", "openssh-client")),
        Need("sshd", _program("sshd", "openssh-server")),
        Need("tcsh", _program("tcsh", "tcsh")),
        Need("rsync", _program("rsync", "rsync")),
        Need("nginx", _program("nginx", "nginx-light")),
        Need("caddy", _program("caddy", "caddy")),
        Need("nft", _program("nft", "nftables")),
        Need("strace", _program("strace", "strace")),
        Need("ip", _program("ip", "iproute2")),
        Need("systemd", _program("systemd-analyze", "systemd")),
        Need("nsenter", _program("nsenter", "util-linux")),
        Need("qemu", _program("qemu-system-x86_64", "qemu-system-x86")),
        Need("docker", TIERS["docker"].obstacle),
        Need("chromium", TIERS["e2e"].obstacle),
    )
}


@cache
def _obstacle_of(need: str) -> str | None:
    """The obstacle of a need, computed once per process."""
    return NEEDS[need].obstacle()


def require(*needs: str) -> None:
    """Skip the running test unless the machine has all `needs`, names in `NEEDS`; fail it in CI."""
    for need in needs:
        obstacle = _obstacle_of(need)
        if obstacle and os.environ.get("CI"):
            pytest.fail(f"CI is set, where every test has to run: {obstacle}", pytrace=False)
        if obstacle:
            pytest.skip(obstacle)
