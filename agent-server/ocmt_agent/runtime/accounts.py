"""The account of each agent's container: a uid and gid of its own, which it has for good.

With one uid for all, an agent could use up what the kernel grants a uid (128 inotify instances),
and a process that broke out of one container could read the memory and the files of all others.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_HIGH = 0x7000_0000
"""No distribution, systemd or `/etc/subuid` assigns uids from here on (systemd's UIDS-GIDS.md)."""
_LOW = 20_000
_LOW_END = 60_000
"""For a host that has no others: an unprivileged container of LXC has 65,536 in all."""


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int

    def passwd(self, home: str) -> str:
        """`/etc/passwd` of its container: ssh, git and `os.userInfo()` fail for a uid without."""
        return (
            "root:x:0:0:root:/root:/usr/sbin/nologin\n"
            f"node:x:{self.uid}:{self.gid}::{home}:/bin/bash\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        )

    def group(self) -> str:
        return f"root:x:0:\nnode:x:{self.gid}:\nnogroup:x:65534:\n"


def account_of(number: int, uid_map: str) -> Account:
    """The account for an agent's number, by `/proc/self/uid_map` of this host.

    Raises `ValueError` when the host has no uid for it.
    """
    ranges = [tuple(map(int, line.split())) for line in uid_map.splitlines()]
    for first, end in ((_HIGH, 2**31 - 1), (_LOW, _LOW_END)):
        uid = first + number
        if uid < end and any(start <= uid < start + count for start, _, count in ranges):
            return Account(uid, uid)
    raise ValueError(f"this host has no uid for the agent number {number}")


def host_account(number: int) -> Account:
    """The same on this host. Only root can give files away: agents of another user share its uid.

    Raises `ValueError` like `account_of`.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    return account_of(number, Path("/proc/self/uid_map").read_text())
