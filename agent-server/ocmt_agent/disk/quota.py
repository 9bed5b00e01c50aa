"""Disk quotas, on file systems that are mounted with user quotas.

Each agent has its own uid, so a user quota limits one agent. (A project quota would need a mark on
every file.) The kernel rejects writes over the quota and knows the usage without counting. Sources:
`quotactl(2)`; `quotactl_fd` needs kernel 5.14. Setting a quota needs CAP_SYS_ADMIN.
"""

import ctypes
import os
from pathlib import Path

from ocmt_agent.decisions.disk_limit import DiskLimit, Usage

_SYS_QUOTACTL_FD = 443  # the same number on every architecture
_GET, _SET, _OF_USERS = 0x800007, 0x800008, 0
_LIMITS = 1 | 4  # QIF_BLIMITS | QIF_ILIMITS
_BLOCK = 1024
# Mount options of ext4 and XFS. XFS's `uqnoenforce` counts without limiting, so it is left out.
_OPTIONS = frozenset({"usrquota", "usrjquota", "uquota", "quota"})
_libc = ctypes.CDLL(None, use_errno=True)


class _Quota(ctypes.Structure):
    """`struct if_dqblk`: limits in blocks of 1,024 bytes, use in bytes."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("bhard", "bsoft", "space", "ihard", "isoft")),
        *((name, ctypes.c_uint64) for name in ("inodes", "btime", "itime")),
        ("valid", ctypes.c_uint32),
    )


class FolderQuotas:
    """User quotas on the file system of one folder."""

    def __init__(self, folder: Path, *, mounts: Path = Path("/proc/self/mountinfo")) -> None:
        self._folder = folder
        self.on = enforces(mounts.read_text(), folder.stat().st_dev)

    def usage(self, uid: int, limit: DiskLimit) -> Usage:
        """Set a uid's quota and return its usage. Raises `OSError` if quotas do not work here."""
        quota = _Quota(bhard=limit.bytes // _BLOCK, ihard=limit.files, valid=_LIMITS)
        self._call(_SET, uid, quota)
        self._call(_GET, uid, quota)
        return Usage(int(quota.space), int(quota.inodes))

    def _call(self, command: int, uid: int, quota: _Quota) -> None:
        place = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            done = _libc.syscall(
                _SYS_QUOTACTL_FD,
                ctypes.c_uint(place),
                ctypes.c_uint(command << 8 | _OF_USERS),
                ctypes.c_uint(uid),
                ctypes.byref(quota),
            )
        finally:
            os.close(place)
        if done != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enforces(mountinfo: str, device: int) -> bool:
    """Whether the file system of `device` is mounted with user quotas (`proc_pid_mountinfo(5)`)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if fields[2] == number:
            options = {word.partition("=")[0] for word in fields[-1].split(",")}
            return bool(options & _OPTIONS)
    return False
