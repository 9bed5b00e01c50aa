"""The drivers on a real kernel with cgroup v2 and quotas, independent of this machine's kernel.

Needs QEMU (`apt-get install --no-install-recommends qemu-system-x86`) and downloads Debian's kernel
package (27 MB, once).
"""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ocmt_agent
import ocmt_common
import pytest

MB = 1 << 20
GUEST = Path(__file__).with_name("v2_guest.py")
_CACHE = Path(tempfile.gettempdir()) / "ocmt-v2-kernel"
_META_PACKAGE = "linux-image-cloud-amd64"
_MODULES = ("lzo-rle", "zsmalloc", "zram", "quota_tree", "quota_v2", "brd")
_BOOT_S = 240
_PACKAGES = [Path(str(package.__file__)).parents[1] for package in (ocmt_agent, ocmt_common)]
"""The folders of ours that the guest imports from; one, /ocmt, in the guest."""

pytestmark = [pytest.mark.nightly, pytest.mark.needs("qemu")]


def kernel() -> Path:
    """Debian's kernel, unpacked but not installed: the folder that contains `boot` and `lib`."""
    unpacked = _CACHE / "kernel"
    if not unpacked.exists():
        _CACHE.mkdir(exist_ok=True)
        depends = subprocess.check_output(["apt-cache", "depends", _META_PACKAGE], text=True)
        package = next(
            line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line
        )
        subprocess.run(["apt-get", "download", "-qq", package], cwd=_CACHE, check=True)
        (deb,) = _CACHE.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", deb, _CACHE / "partial"], check=True)
        (_CACHE / "partial").rename(unpacked)
    return unpacked


def entry(path: str, mode: int, content: bytes = b"", *, mtime: int = 0) -> bytes:
    """One file of an initramfs (the kernel's `buffer-format.rst`: cpio, newc)."""
    name = path.lstrip("/").encode() + b"\0"
    fields = (0, mode, 0, 0, 1, mtime, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def needed_files() -> Iterator[Path]:
    """Python, what the guest imports, and the shared libraries of both."""
    program = (
        "import sys, runpy; runpy.run_path(sys.argv[1], run_name='listed'); "
        "import ocmt_agent.memory.reclaim, ocmt_agent.memory.host, encodings.idna, "
        "ocmt_agent.disk.quota, ocmt_agent.runtime.accounts, ocmt_agent.memory.working_set, "
        "ocmt_agent.runtime.docker_memory, multiprocessing.util; "
        "print(*{m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)}, "
        "sep='\\n')"
    )
    environment = {"PYTHONPATH": os.pathsep.join(map(str, _PACKAGES))}
    python = Path(sys.executable).resolve()
    listed = subprocess.check_output(
        [python, "-S", "-c", program, GUEST], env=environment, text=True
    )
    files = {Path(name) for name in listed.split()} | {python}
    for binary in [file for file in files if file.suffix in ("", ".so") or file == python]:
        for word in subprocess.run(
            ["ldd", binary], stdout=subprocess.PIPE, check=False, text=True
        ).stdout.split():
            if word.startswith("/"):
                files.add(Path(word))
    yield from files


def file_system_with_quotas(file: Path) -> bytes:
    """An empty ext4 file system with user quotas."""
    file.touch()
    os.truncate(file, 12 * MB)
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota", "-E", "quotatype=usrquota", file], check=True)
    return file.read_bytes()


def initramfs(modules: Path, quota_image: bytes) -> bytes:
    python = Path(sys.executable).resolve()
    library = Path(os.__file__).parent
    files: dict[str, tuple[int, bytes]] = {
        "/init": (0o755, f"#!{python} -ES\n".encode() + GUEST.read_bytes()),
        # By this folder Python knows its library.
        f"{library}/lib-dynload/.keep": (0o644, b""),
        "/quota.img": (0o644, quota_image),
    }
    for file in needed_files():
        package = next((place for place in _PACKAGES if file.is_relative_to(place)), None)
        at = str(file) if package is None else f"/ocmt/{file.relative_to(package)}"
        files[at] = (stat.S_IMODE(file.stat().st_mode), file.read_bytes())
    for name in _MODULES:
        for file in modules.rglob(f"{name}.ko"):
            files[f"/modules/{name}.ko"] = (0o644, file.read_bytes())
    made: set[str] = set()
    parts = []
    for path, (mode, content) in sorted(files.items()):
        for folder in [str(parent) for parent in reversed(Path(path).parents)][1:]:
            if folder not in made:
                made.add(folder)
                parts.append(entry(folder, stat.S_IFDIR | 0o755))
        parts.append(entry(path, stat.S_IFREG | mode, content))
    return b"".join([*parts, entry("TRAILER!!!", 0)])


def test_reclaim_freeze_and_prefetch_on_a_real_kernel_with_cgroup_v2(tmp_path: Path) -> None:
    qemu = shutil.which("qemu-system-x86_64")
    assert qemu, "install QEMU: apt-get install --no-install-recommends qemu-system-x86"
    unpacked = kernel()
    (image,) = (unpacked / "boot").glob("vmlinuz-*")
    archive = tmp_path / "initramfs"
    archive.write_bytes(
        initramfs(unpacked / "lib" / "modules", file_system_with_quotas(tmp_path / "ext4"))
    )
    console = subprocess.run(
        [
            *(qemu, "-accel", "tcg", "-cpu", "max", "-m", "768", "-nodefaults", "-no-reboot"),
            *("-display", "none", "-serial", "stdio", "-kernel", image, "-initrd", archive),
            *("-append", "console=ttyS0 quiet panic=-1"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_BOOT_S,
        check=False,
    ).stdout.decode(errors="replace")
    _, told, result = console.partition("RESULT ")
    assert told, console[-4000:]
    found = json.loads(result.splitlines()[0])
    assert "error" not in found, found["error"]
    print(json.dumps(found, indent=1))

    assert found["drivers"] == ["memory.reclaim", "process_madvise"]
    assert found["found_by_procfs"] is True
    assert found["frozen"] is True
    assert found["awake"]["anon"] > 90 * MB
    # Cut short by a wake: a part is gone, and the rest is where it was.
    assert found["let_go_within_s"] < 1.0
    assert 10 * MB < found["cut_short"]["anon"] < found["awake"]["anon"]
    # Reclaimed: in zram, at about half its size, as it was made.
    asleep = found["asleep"]
    assert asleep["anon"] < 10 * MB
    assert asleep["swap"] > 90 * MB
    assert 0.4 * asleep["swap"] < asleep["compressed"] < 0.8 * asleep["swap"]
    assert found["more_than_there_is"] == os.strerror(11)  # EAGAIN
    # Prefetched: charged again, not counted as used, and intact.
    assert found["fetched"]["usage"] > asleep["usage"] + 60 * MB
    # What stays is the guest's own Python: the child shares it, another group is charged with it.
    assert found["fetched"]["resident"] < 30 * MB
    # Brought in: mapped as if used, and its places in the swap are free again.
    assert found["brought_in"]["resident"] > found["fetched"]["resident"] + 60 * MB
    assert found["brought_in"]["swap"] < 0.3 * asleep["swap"]
    assert found["exit"] == 3
    assert found["swap_most"] == str(256 * MB)

    # The kernel stops an agent at its limit in the middle of a write, and counts for us.
    quotas = found["quotas"]
    assert (quotas["on"], quotas["off"]) == (True, False)
    assert quotas["before"][1] == 1
    refused, taken, _ = quotas["large"]
    assert refused == os.strerror(errno.EDQUOT)
    assert 3.8 * MB < taken <= 4 * MB
    refused, _, files = quotas["many"]
    assert (refused, files) == (os.strerror(errno.EDQUOT), 50)
