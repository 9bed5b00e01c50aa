"""A lock ends with its holder, however that one ends."""

import errno
import fcntl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from ocmt_common.file_lock import lock, try_lock

_HOLD = """\
import sys
from pathlib import Path
from ocmt_common.file_lock import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def _missing(folder: Path) -> Path:
    return folder / "lock"


def _with_content(folder: Path) -> Path:
    (folder / "lock").write_text("ada, since noon")
    return folder / "lock"


def _folder(folder: Path) -> Path:
    return folder


def _read_only_folder(folder: Path) -> Path:
    folder.chmod(0o555)
    return folder


@pytest.mark.parametrize("make", [_missing, _with_content, _folder, _read_only_folder])
def test_one_holder_at_a_time_until_it_releases(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    place = make(tmp_path)
    before = place.read_bytes() if place.is_file() else b""
    with lock(place):
        assert try_lock(place) is None
    held = try_lock(place)
    assert held is not None
    assert try_lock(place) is None
    held.release()
    with lock(place):
        pass
    assert not place.is_file() or place.read_bytes() == before


def test_a_lock_that_is_held_is_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    got = threading.Event()

    def wait() -> None:
        with lock(place):
            got.set()

    with lock(place):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.05)
    assert got.wait(10)
    waiting.join()


@pytest.mark.parametrize("end", ["kill", "terminate", "close"])
def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path, end: str) -> None:
    place = tmp_path / "lock"
    command = [sys.executable, "-c", _HOLD, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert try_lock(place) is None
        getattr(holder.stdin if end == "close" else holder, end)()
        holder.wait(10)
    held = try_lock(place)
    assert held is not None
    held.release()


def test_a_child_that_inherits_the_descriptor_holds_the_lock_and_no_other(tmp_path: Path) -> None:
    held = lock(tmp_path / "lock")
    sleeping = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        subprocess.Popen(sleeping, stdin=subprocess.PIPE, pass_fds=(held.fd,)) as heir,
        subprocess.Popen(sleeping, stdin=subprocess.PIPE) as other,
    ):
        held.release()
        assert try_lock(tmp_path / "lock") is None
        assert heir.stdin is not None
        assert other.poll() is None
        heir.stdin.close()
        heir.wait(10)
        free = try_lock(tmp_path / "lock")
        assert free is not None
        free.release()


@pytest.mark.parametrize("take", [lock, try_lock])
def test_a_file_that_cannot_be_opened_is_an_error(
    tmp_path: Path, take: Callable[[Path], object]
) -> None:
    with pytest.raises(FileNotFoundError):
        take(tmp_path / "none" / "lock")


@pytest.mark.parametrize("take", [lock, try_lock])
def test_a_file_system_without_locks_is_an_error_and_the_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Callable[[Path], object]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="No locks"):
        take(tmp_path / "lock")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
