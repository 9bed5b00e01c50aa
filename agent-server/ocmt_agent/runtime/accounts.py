"""The permanent uid and gid of each agent's container and of its user's tool servers.

With a single uid, one agent could use up the kernel's limits per uid (128 inotify instances), and a
process that escaped from its container could read the memory and files of all others.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_HIGH = 0x7000_0000
"""No distribution, systemd or `/etc/subuid` assigns uids from here on (systemd's UIDS-GIDS.md)."""
_HIGH_TOOLS = 0x7800_0000
"""Start of the tool servers' uids, one per user; end of the agents'."""
_LOW = 20_000
_LOW_END = 60_000
"""End of the range for hosts with few uids: an unprivileged LXC container has 65,536."""


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int

    def passwd(self, home: str) -> str:
        """The container's `/etc/passwd`. ssh, git and `os.userInfo()` fail for an unlisted uid."""
        return (
            "root:x:0:0:root:/root:/usr/sbin/nologin\n"
            f"node:x:{self.uid}:{self.gid}::{home}:/bin/bash\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        )

    def group(self) -> str:
        return f"root:x:0:\nnode:x:{self.gid}:\nnogroup:x:65534:\n"


def account_of(number: int, uid_map: str) -> Account:
    """The account for an agent's number, given the text of `/proc/self/uid_map`.

    Raises `ValueError` if the host has no uid for it.
    """
    uids = ((_HIGH + number, _HIGH_TOOLS), (_LOW + number, _LOW_END))
    return _first(uids, uid_map, f"the agent number {number}")


def tools_account_of(number: int, uid_map: str) -> Account:
    """Like `account_of`, for the tool servers of the agent with this number.

    On a host with few uids, these count down from the end of the range, until they meet the
    agents'.
    """
    low = _LOW_END - 1 - number
    uids = ((_HIGH_TOOLS + number, 2**31 - 1), (low, _LOW_END if low > _LOW + number else 0))
    return _first(uids, uid_map, f"the tool servers of the agent number {number}")


def _first(uids: Iterable[tuple[int, int]], uid_map: str, whose: str) -> Account:
    """The first `uid` of `(uid, end)` that is below its end and that the host has."""
    ranges = [tuple(map(int, line.split())) for line in uid_map.splitlines()]
    for uid, end in uids:
        if uid < end and any(start <= uid < start + count for start, _, count in ranges):
            return Account(uid, uid)
    raise ValueError(f"this host has no uid for {whose}")


def host_account(number: int) -> Account:
    """The account for an agent's number on this host. Raises `ValueError` like `account_of`.

    Without root, this server cannot chown, so all agents have its own uid and gid.
    """
    return _on_this_host(account_of, number)


def host_tools_account(number: int) -> Account:
    """Like `host_account`, for `tools_account_of`."""
    return _on_this_host(tools_account_of, number)


INSTALLER = 0
"""A number that no agent has, for the account that installs tool servers' packages."""


def _on_this_host(of: Callable[[int, str], Account], number: int) -> Account:
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    return of(number, Path("/proc/self/uid_map").read_text())
