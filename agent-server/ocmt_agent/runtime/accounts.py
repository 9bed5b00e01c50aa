"""The permanent uid and gid of each agent's container, and of its user's tool servers.

With one uid for all, an agent could use up the kernel's limits per uid (128 inotify instances), and
a process that escaped from one container could read the memory and files of all others.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_HIGH = 0x7000_0000
"""No distribution, systemd or `/etc/subuid` assigns uids from here on (systemd's UIDS-GIDS.md)."""
_HIGH_TOOLS = 0x7800_0000
"""Tool servers' uids, one for all of a user's; the agents' end here."""
_LOW = 20_000
_LOW_END = 60_000
"""`_LOW` up to here is for hosts with fewer uids: an unprivileged LXC container has 65,536."""


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int

    def passwd(self, home: str) -> str:
        """The container's `/etc/passwd`: ssh, git and `os.userInfo()` fail for an unlisted uid."""
        return (
            "root:x:0:0:root:/root:/usr/sbin/nologin\n"
            f"node:x:{self.uid}:{self.gid}::{home}:/bin/bash\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        )

    def group(self) -> str:
        return f"root:x:0:\nnode:x:{self.gid}:\nnogroup:x:65534:\n"


def account_of(number: int, uid_map: str) -> Account:
    """The account for an agent's number, given the host's `/proc/self/uid_map`.

    Raises `ValueError` when the host has no uid for it.
    """
    uids = ((_HIGH + number, _HIGH_TOOLS), (_LOW + number, _LOW_END))
    return _first(uids, uid_map, f"the agent number {number}")


def tools_account_of(number: int, uid_map: str) -> Account:
    """The account for the tool servers of the agent with that number; otherwise as `account_of`.

    On a host with few uids they are counted from the end, until they meet the agents'.
    """
    low = _LOW_END - 1 - number
    uids = ((_HIGH_TOOLS + number, 2**31 - 1), (low, _LOW_END if low > _LOW + number else 0))
    return _first(uids, uid_map, f"the tool servers of the agent number {number}")


def _first(uids: Iterable[tuple[int, int]], uid_map: str, whose: str) -> Account:
    """The first uid below its end that the host has."""
    ranges = [tuple(map(int, line.split())) for line in uid_map.splitlines()]
    for uid, end in uids:
        if uid < end and any(start <= uid < start + count for start, _, count in ranges):
            return Account(uid, uid)
    raise ValueError(f"this host has no uid for {whose}")


def host_account(number: int) -> Account:
    """The account for an agent's number on this host. Raises `ValueError` like `account_of`.

    Without root, this server cannot chown, so its agents share its own uid and gid.
    """
    return _on_this_host(account_of, number)


def host_tools_account(number: int) -> Account:
    """`tools_account_of` on this host, like `host_account`."""
    return _on_this_host(tools_account_of, number)


INSTALLER = 0
"""The number, of no agent, whose account installs tool servers' packages."""


def _on_this_host(of: Callable[[int, str], Account], number: int) -> Account:
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    return of(number, Path("/proc/self/uid_map").read_text())
