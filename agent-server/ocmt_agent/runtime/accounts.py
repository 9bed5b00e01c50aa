"""The permanent uid and gid of each agent's container.

With one uid for all, an agent could use up the kernel's limits per uid (128 inotify instances), and
a process that escaped from one container could read the memory and files of all others.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_HIGH = 0x7000_0000
"""No distribution, systemd or `/etc/subuid` assigns uids from here on (systemd's UIDS-GIDS.md)."""
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
    ranges = [tuple(map(int, line.split())) for line in uid_map.splitlines()]
    for first, end in ((_HIGH, 2**31 - 1), (_LOW, _LOW_END)):
        uid = first + number
        if uid < end and any(start <= uid < start + count for start, _, count in ranges):
            return Account(uid, uid)
    raise ValueError(f"this host has no uid for agent number {number}")


def host_account(number: int) -> Account:
    """The account for an agent's number on this host. Raises `ValueError` like `account_of`.

    Without root, this server cannot chown, so its agents share its own uid and gid.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    return account_of(number, Path("/proc/self/uid_map").read_text())
