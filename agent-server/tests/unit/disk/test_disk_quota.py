"""File systems that enforce agents' limits, and those that only claim to."""

import os
from pathlib import Path

import pytest
from ocmt_agent.decisions.disk_limit import DiskLimit
from ocmt_agent.disk.quota import FolderQuotas, enforces

LINE = "36 35 {} / / rw,relatime shared:1 - {}\n"
DEVICE = os.makedev(254, 1)


@pytest.mark.parametrize(
    ("kind", "on"),
    [
        ("ext4 /dev/vda1 rw,usrquota,errors=remount-ro", True),
        ("ext4 /dev/vda1 rw,usrjquota=aquota.user,jqfmt=vfsv1", True),
        ("xfs /dev/vda1 rw,attr2,usrquota", True),
        ("ext4 /dev/vda1 rw,relatime", False),
        ("xfs /dev/vda1 rw,attr2,uqnoenforce,noquota", False),
        ("ext4 /dev/vda1 rw,prjquota", False),
    ],
)
def test_quotas_are_used_where_the_file_system_is_mounted_with_them(kind: str, on: bool) -> None:
    others = LINE.format("254:2", "ext4 /dev/vda2 rw,usrquota")
    assert enforces(others + LINE.format("254:1", kind), DEVICE) == on
    assert not enforces(others, DEVICE)


def test_a_file_system_without_working_quotas_is_reported(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mounts"
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts.write_text(LINE.format(number, "ext4 /dev/vda1 rw,usrquota"))
    quotas = FolderQuotas(tmp_path, mounts=mounts)
    assert quotas.on
    with pytest.raises(OSError):
        quotas.usage(2**30, DiskLimit.of_mb(64))
