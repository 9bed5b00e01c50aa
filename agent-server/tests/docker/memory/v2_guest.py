"""The first process of a virtual machine: the drivers on a kernel with cgroup v2 only.

Prints one line, `RESULT` and JSON, and powers off. `test_v2_kernel.py` makes the machine.
"""

import asyncio
import ctypes
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MB = 1 << 20
HELD = 96 * MB
_libc = ctypes.CDLL(None, use_errno=True)
_FINIT_MODULE, _SWAPON, _POWER_OFF = 313, 167, 0x4321FEDC


def _ok(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(kind: str, target: str) -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    _ok(_libc.mount(kind.encode(), target.encode(), kind.encode(), 0, None))


def load(module: Path) -> None:
    with module.open("rb") as file:
        _ok(_libc.syscall(_FINIT_MODULE, file.fileno(), b"", 0))


def swap_on_zram(size: int) -> None:
    for name in ("lzo-rle", "zsmalloc", "zram"):
        load(Path("/modules") / f"{name}.ko")
    Path("/sys/block/zram0/disksize").write_text(str(size))
    header = bytearray(4096)  # as mkswap writes it: version 1, the last page, the signature
    header[1024:1032] = (1).to_bytes(4, "little") + (size // 4096 - 1).to_bytes(4, "little")
    header[4086:] = b"SWAPSPACE2"
    with Path("/dev/zram0").open("r+b", buffering=0) as device:
        device.write(header)
    _ok(_libc.syscall(_SWAPON, b"/dev/zram0", 0))


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def hold(join: list[Path]) -> int:
    """A child in the group that holds memory and, on request, reports whether it is intact."""
    pid = os.fork()
    if pid:
        until(Path("/ready").exists)
        return pid
    for file in join:
        file.write_text(str(os.getpid()))
    half = bytes(2048)
    held = [os.urandom(2048) + half for _ in range(HELD // 4096)]
    total = sum(map(sum, held[::64]))
    Path("/ready").write_text("")
    until(Path("/check").exists)
    whole = all(len(page) == 4096 for page in held) and sum(map(sum, held[::64])) == total
    os._exit(3 if whole else 4)


def cgroup_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


def ask_for(folder: Path, size: int) -> str:
    """Write to `memory.reclaim` directly; returns "taken" or the kernel's error text."""
    try:
        (folder / "memory.reclaim").write_text(str(size))
    except OSError as error:
        return os.strerror(error.errno or 0)
    return "taken"


def exit_code(pid: int) -> int:
    Path("/check").write_text("")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def as_user(uid: int, act: Callable[[], None]) -> int:
    """Run it in a child with that uid; returns the number of the error that ends it."""
    pid = os.fork()
    if pid == 0:
        os.setgid(uid)
        os.setuid(uid)
        try:
            act()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def quotas() -> dict[str, object]:
    """An agent that writes more than its quota on a file system with user quotas."""
    from ocmt_agent.decisions.disk_limit import DiskLimit
    from ocmt_agent.disk.quota import FolderQuotas
    from ocmt_agent.runtime.accounts import account_of

    for name in ("quota_tree", "quota_v2", "brd"):
        load(Path("/modules") / f"{name}.ko")
    until(Path("/dev/ram0").exists)
    Path("/dev/ram0").write_bytes(Path("/quota.img").read_bytes())
    Path("/quota").mkdir()
    _ok(_libc.mount(b"/dev/ram0", b"/quota", b"ext4", 0, b"usrquota"))
    uid = account_of(1, Path("/proc/self/uid_map").read_text()).uid
    state = Path("/quota/state")
    state.mkdir()
    os.chown(state, uid, uid)
    limit = DiskLimit(4 * MB, 50)
    folder = FolderQuotas(Path("/quota"))
    before = folder.usage(uid, limit)

    def large() -> None:
        with (state / "large").open("wb", buffering=0) as file:
            for _ in range(100):
                file.write(bytes(MB // 10))
        os.sync()

    def many() -> None:
        for number in range(200):
            (state / f"file{number}").touch()

    found: dict[str, object] = {"on": folder.on, "before": [before.bytes, before.files]}
    for name, act in (("large", large), ("many", many)):
        error = as_user(uid, act)
        usage = folder.usage(uid, limit)
        found[name] = [os.strerror(error), usage.bytes, usage.files]
    found["off"] = FolderQuotas(Path("/proc")).on
    return found


async def main() -> dict[str, object]:
    from ocmt_agent.memory.host import read_agent_memory, read_host_memory
    from ocmt_agent.memory.page_sets import size
    from ocmt_agent.memory.pages import advise, bring_in, resident_pages, turns
    from ocmt_agent.memory.reclaim import GroupReclaim, drivers
    from ocmt_agent.memory.syscalls import Advice
    from ocmt_agent.runtime.base import Whereabouts
    from ocmt_agent.runtime.cgroup import Cgroup, probe
    from ocmt_agent.runtime.docker_memory import memory_folder
    from ocmt_agent.runtime.processes import identify
    from ocmt_agent.runtime.spec import Limits

    swap_on_zram(256 * MB)
    group = Cgroup(probe("ocmt"), "ada")
    group.make(Limits(memory_mb=256, cpus=1.0, pids=16))
    pid = hold(group.join_files())
    leader = identify(pid)
    assert leader is not None
    where = Whereabouts(leader, group.memory_folder(), group.pids)
    assert where.memory is not None
    found: dict[str, object] = {
        "kernel": os.uname().release,
        "drivers": [driver.name for driver in drivers()],
        "swap_most": (where.memory / "memory.swap.max").read_text().strip(),
        "found_by_procfs": memory_folder(cgroup_of(pid)) == where.memory,
    }

    def figures() -> dict[str, int]:
        memory = read_agent_memory(where, read_host_memory())
        assert memory is not None
        return {name: getattr(memory, name) for name in ("usage", "anon", "swap", "compressed")} | {
            "resident": size(resident_pages(where))
        }

    executor = ThreadPoolExecutor(1)
    group.set_frozen(True)
    found["frozen"] = group.is_frozen()
    found["awake"] = figures()
    used = resident_pages(where)

    # A wake comes in between: it is stopped between two chunks, with a part gone.
    cut = asyncio.create_task(GroupReclaim().reclaim(where, executor))
    before = figures()["usage"]
    while figures()["usage"] > before - 16 * MB:  # noqa: ASYNC110 (the kernel's figures)
        await asyncio.sleep(0.001)
    cut.cancel()
    started = time.monotonic()
    await asyncio.gather(cut, return_exceptions=True)
    found["let_go_within_s"] = time.monotonic() - started
    await asyncio.get_running_loop().run_in_executor(executor, lambda: None)
    found["cut_short"] = figures()

    await GroupReclaim().reclaim(where, executor)
    found["asleep"] = figures()
    found["more_than_there_is"] = ask_for(where.memory, 1 << 30)

    for turn in turns(used, at_most=1 << 30):
        advise(*turn, Advice.WILLNEED)
    found["fetched"] = figures()
    async for _ in bring_in(used, executor, at_most=1 << 30, leave=lambda _: False):
        pass
    found["brought_in"] = figures()
    await GroupReclaim().reclaim(where, executor)
    group.set_frozen(False)
    found["exit"] = exit_code(pid)
    return found


if __name__ == "__main__":
    sys.path.insert(0, "/ocmt")
    try:
        for kind, target in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")):
            mount(kind, target)
        mount("cgroup2", "/sys/fs/cgroup")
        result: dict[str, object] = asyncio.run(main()) | {"quotas": quotas()}
    except BaseException:
        result = {"error": traceback.format_exc()}
    print("\nRESULT " + json.dumps(result), flush=True)
    time.sleep(0.2)
    _libc.reboot(_POWER_OFF)
