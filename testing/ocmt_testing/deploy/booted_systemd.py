"""A machine that systemd booted: in namespaces of its own, over a copy-on-write view of this one.

It sees this machine's programs and changes none of its files, units or kernel settings. The network
is shared.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ocmt_testing.needs import require

_BOOT_S = 90
_BOOT = """\
set -e
D=$1 R=$1/root
mount -t tmpfs none $D/upper
mkdir $D/upper/files $D/upper/work
mount -t overlay overlay -o lowerdir=/,upperdir=$D/upper/files,workdir=$D/upper/work $R
mount -t proc proc $R/proc
mount --bind $R/proc/sys $R/proc/sys
mount -o remount,bind,ro $R/proc/sys
mount -t sysfs -o ro sysfs $R/sys
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs $R/sys/fs/cgroup
    mkdir $R/sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd,xattr cgroup $R/sys/fs/cgroup/systemd
fi
mount -t tmpfs -o mode=755 tmpfs $R/run
mount -t tmpfs -o mode=1777 tmpfs $R/tmp
mount -t tmpfs -o mode=755 tmpfs $R/dev
while read -r name minor; do
    mknod -m 666 $R/dev/$name c 1 $minor
done <<END
null 3
zero 5
full 7
random 8
urandom 9
END
mknod -m 666 $R/dev/tty c 5 0
mkdir $R/dev/pts $R/dev/shm $R/run/sshd
mount -t devpts -o newinstance,ptmxmode=0666 devpts $R/dev/pts
mount -t tmpfs tmpfs $R/dev/shm
ln -s pts/ptmx $R/dev/ptmx
ln -s /proc/self/fd $R/dev/fd
: > $R/etc/fstab
rm -f $R/etc/machine-id
echo 0123456789abcdef0123456789abcdef > $R/etc/machine-id
rm -rf $R/etc/systemd/system/*.wants
for unit in docker.service docker.socket systemd-sysctl.service systemd-modules-load.service; do
    ln -sf /dev/null $R/etc/systemd/system/$unit
done
printf '[Unit]\\nRequires=sysinit.target sockets.target\\nAfter=sysinit.target\\n' \
    > $R/etc/systemd/system/ocmt-booted.target
# Not chroot, in which the kernel grants no user namespaces (PrivateUsers=).
cd $R
mkdir -p mnt/old
pivot_root . mnt/old
umount -l /mnt/old
# As a container's manager does: services see the credentials that are mounted for them.
mount --make-rshared /
exec /usr/bin/env -i container=ocmt PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=ocmt-booted.target --show-status=0
"""


@dataclass(frozen=True, slots=True)
class BootedSystemd:
    pid: int
    """Of its systemd, as this machine counts."""

    @property
    def root(self) -> Path:
        """Its file system."""
        return Path(f"/proc/{self.pid}/root")

    def argv(self, *words: str) -> list[str]:
        """The command that runs `words` on it."""
        return ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", *words]

    def run(self, *words: str) -> str:
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, check=False)
        return done.stdout.strip()


@contextmanager
def booted_systemd() -> Iterator[BootedSystemd]:
    """Boot it. Skips the test where the machine or its kernel does not let systemd boot."""
    require("root", "systemd", "nsenter")
    folder = Path(tempfile.mkdtemp(prefix="ocmt-systemd-"))
    for name in ("upper", "root"):
        (folder / name).mkdir()
    (folder / "boot.sh").write_text(_BOOT)
    cgroup = _own_cgroup(folder.name)
    log = folder / "boot.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["sh", "-c", f"echo $$ > {cgroup}/cgroup.procs; exec \"$@\"", "sh",
             "unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork",
             "--kill-child", "--propagation", "private", "sh", str(folder / "boot.sh"),
             str(folder)],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        machine = _machine(process)
        if machine is None:
            pytest.skip(f"systemd does not boot on this machine: {log.read_text()[-500:]}")
        yield machine
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        _remove_cgroup(cgroup)


def _own_cgroup(name: str) -> Path:
    v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    made = Path("/sys/fs/cgroup", "" if v2 else "systemd", name)
    made.mkdir()
    return made


def _remove_cgroup(cgroup: Path) -> None:
    until = time.monotonic() + 20
    while cgroup.exists() and time.monotonic() < until:
        for folder in [*sorted(cgroup.rglob("*/"), reverse=True), cgroup]:
            try:
                folder.rmdir()
            except OSError:  # its processes are still ending
                time.sleep(0.05)


def _machine(process: subprocess.Popen[bytes]) -> BootedSystemd | None:
    """The machine once its systemd has started all that it should; `None` if it does not."""
    until = time.monotonic() + _BOOT_S
    while time.monotonic() < until and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children:
            machine = BootedSystemd(int(pid))
            if machine.run("systemctl", "is-system-running") in ("running", "degraded"):
                return machine
        time.sleep(0.1)
    return None
