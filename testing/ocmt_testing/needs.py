"""What a test needs of the machine beside Python and git, and what to do where it is missing.

A test says so with `@pytest.mark.needs("nginx")`; what several tests share, such as a PostgreSQL
of their own, calls `require` where it is made. Where the machine lacks it the test is skipped with
one sentence, which `ocmt test` repeats with the number of tests; where `CI` is set, it fails, as
there everything has to be shown.
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
    """`obstacle` is the sentence for a machine that lacks it, and None where it is there."""

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
        Need("qemu", _program("qemu-system-x86_64", "qemu-system-x86")),
        Need("docker", TIERS["docker"].obstacle),
        Need("chromium", TIERS["e2e"].obstacle),
    )
}


@cache
def _obstacle_of(need: str) -> str | None:
    """Found out once a process."""
    return NEEDS[need].obstacle()


def require(*needs: str) -> None:
    """Skip the test that runs unless the machine has all of `needs`, names of `NEEDS`."""
    for need in needs:
        obstacle = _obstacle_of(need)
        if obstacle and os.environ.get("CI"):
            pytest.fail(f"CI is set, where every test has to run: {obstacle}", pytrace=False)
        if obstacle:
            pytest.skip(obstacle)
