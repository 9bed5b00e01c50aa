"""An agent whose folder is hostile does not keep the others from being backed up."""

import contextlib
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.backup.agents import fetch_agents
from ocmt_cli.backup.hostside import budget, dump, no_follow, walk
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.remote import LocalHost

TB = 1000**4


def _whole(agents: Any) -> dict[str, tuple[int, int, int, bytes]]:
    """Every agent's files: mode, owner, size, and the content of small ones."""
    found = {}
    for one in sorted(agents.place.rglob("*")):
        seen = one.lstat()
        small = stat.S_ISREG(seen.st_mode) and seen.st_size < 100_000
        content = one.read_bytes() if small else b""
        size = seen.st_size if stat.S_ISREG(seen.st_mode) else 0
        found[os.fspath(one)] = (seen.st_mode, seen.st_uid, size, content)
    return found


def _there_and_back(agents: Any) -> None:
    shutil.rmtree(agents.place)
    assert agents.restore() == []


def test_every_agents_folder_is_stored_and_restored_and_no_other(agents: Any) -> None:
    uuid = "0b9c5b1e-7f0a-4c8e-9d55-6b7f0c1d2e3f"
    # The last two were made before they had a user.
    homes = ["ada", uuid, "agent", "agent-1", "agent.0123456789abcdef", "agent.ffffffffffffffff"]
    others = [".state-copies", "agent.", "agent.0123", "agent.0123456789abcdeF", "Ada", "a.b"]
    for name in (*homes, *others):
        (agents.state(name) / "said").write_text(f"by {name}")
    assert agents.back_up() == []
    assert sorted(Path(part.file).name for part in agents.parts) == sorted(
        f"{home}.tar.gz" for home in homes
    )
    _there_and_back(agents)
    assert sorted(one.name for one in agents.place.iterdir()) == sorted(homes)
    assert {(agents.state(home) / "said").read_text() for home in homes} == {
        f"by {home}" for home in homes
    }


# Size, and where there is data in it.
SPARSE = {
    "8 TB of nothing": (8 * TB, []),
    "8 TB with data in the middle and at the end": (8 * TB, [4 * TB, 8 * TB - 4]),
    "data at the start only": (2 * TB, [0]),
    "a thousand islands": (1 * TB, [n * 10**9 for n in range(1000)]),
    "a hole at the end of what is no multiple of anything": (10_000_001, [1]),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_a_sparse_file_is_stored_and_restored_sparse(agents: Any, kind: str) -> None:
    size, places = SPARSE[kind]
    file = agents.state() / "sparse"
    with file.open("wb") as made:
        made.truncate(size)
        for place in places:
            made.seek(place)
            made.write(b"data")
    allocated = file.stat().st_blocks
    started = time.monotonic()
    assert agents.back_up() == []
    assert sum(part.size for part in agents.parts) < 100_000
    _there_and_back(agents)
    assert time.monotonic() - started < 20
    assert file.stat().st_size == size
    assert file.stat().st_blocks <= allocated
    with file.open("rb") as restored:
        for place in places:
            restored.seek(place)
            assert restored.read(4) == b"data"
            assert restored.read(4) in (bytes(4), b"")


def _too_many_bytes(state: Path) -> None:
    (state / "big").write_bytes(random.Random(1).randbytes(3_000_000))


def _too_many_links_to_many_bytes(state: Path) -> None:
    (state / "big").write_bytes(random.Random(1).randbytes(500_000))
    for number in range(5):
        (state / str(number)).hardlink_to(state / "big")


def _too_many_files(state: Path) -> None:
    for number in range(400):
        (state / str(number)).touch()


def _too_many_in_folders(state: Path) -> None:
    for number in range(20):
        (state / f"d{number}").mkdir()
        for inside in range(20):
            (state / f"d{number}" / str(inside)).symlink_to("nowhere")


def _too_many_gaps(state: Path) -> None:
    with (state / "gaps").open("wb") as file:
        for number in range(400):
            file.seek(number * 1_000_000)
            file.write(b"x")


def _too_many_bytes_in_a_database(state: Path) -> None:
    (state / "x.db").write_bytes(b"SQLite format 3\0" + random.Random(1).randbytes(1_500_000))
    (state / "x.db-wal").write_bytes(random.Random(1).randbytes(1_500_000))


@pytest.mark.parametrize(
    ("fill", "cure"),
    [
        (_too_many_bytes, "--max-agent-gb"),
        (_too_many_links_to_many_bytes, "--max-agent-gb"),
        (_too_many_bytes_in_a_database, "--max-agent-gb"),
        (_too_many_files, "Remove some"),
        (_too_many_in_folders, "Remove some"),
        (_too_many_gaps, "Remove some"),
    ],
)
def test_an_agent_over_its_budget_is_left_out_and_the_others_are_stored(
    agents: Any, monkeypatch: pytest.MonkeyPatch, fill: Callable[[Path], None], cure: str
) -> None:
    agents.data_bytes = 2_000_000
    monkeypatch.setattr(budget.Budget.__init__, "__defaults__", (300, budget.MAX_DEPTH))
    for agent in ("u0", "u2"):
        (agents.state(agent) / "memory.md").write_text("remember")
    fill(agents.state())
    left_out = agents.back_up_in_this_process()
    assert [(one.agent, one.path) for one in left_out] == [("u1", "")]
    assert cure in left_out[0].reason
    assert [part.file for part in agents.parts] == [
        "data/host-agents/u0.tar.gz",
        "data/host-agents/u2.tar.gz",
    ]
    assert not list(agents.copy.rglob("u1*"))
    assert agents.stored_bytes("u2/state/memory.md", "u2") == b"remember"


def test_an_agent_that_grows_while_it_is_stored_is_left_out(
    agents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents.data_bytes = 2_000_000
    (agents.state() / "a").write_text("small")
    (agents.state("u2") / "memory.md").write_text("remember")
    looked = dump._refuse_too_much

    def then_grow(agent: str, *words: Any) -> None:
        looked(agent, *words)
        if agent == "u1":
            _too_many_bytes(agents.state())

    monkeypatch.setattr(dump, "_refuse_too_much", then_grow)
    left_out = agents.back_up_in_this_process()
    assert [(one.agent, one.path) for one in left_out] == [("u1", "")]
    assert not list(agents.copy.rglob("u1*"))
    assert agents.stored_bytes("u2/state/memory.md", "u2") == b"remember"


@pytest.mark.parametrize("depth", [300, 1_100, 3_000])
def test_what_is_too_deep_is_left_out_alone(agents: Any, depth: int) -> None:
    (agents.state() / "memory.md").write_text("remember")
    at = os.open(agents.state(), os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    try:
        left_out = agents.back_up()
        assert [one.agent for one in left_out] == ["u1"]
        assert left_out[0].path.startswith("state/d/d/")
        assert "256 folders" in left_out[0].reason
        assert agents.stored_bytes("u1/state/memory.md") == b"remember"
        assert agents.restore() == []
    finally:
        # Deeper than pytest, or any recursion, could remove.
        subprocess.run(["rm", "-rf", *agents.place.parent.iterdir()], check=True)


def test_as_deep_as_may_be_comes_back(agents: Any) -> None:
    deep = agents.state().joinpath(*"d" * 200)
    deep.mkdir(parents=True)
    (deep / "f").write_text("deep down")
    assert agents.back_up() == []
    _there_and_back(agents)
    assert (deep / "f").read_text() == "deep down"


NAMES = [
    b"\xff\xfe not UTF-8", b"two\nlines", b"\x1b[2J escape", b" space ", b"-rf", b"*", b"\\", b"'",
    b"n" * 255, b"~", "na\u00efve \u202e".encode(), b"GNUSparseFile.0", b"PaxHeaders", b".runtime",
]  # fmt: skip


def test_names_of_every_kind_come_back(agents: Any) -> None:
    state = os.fsencode(agents.state())
    for number, name in enumerate(NAMES):
        Path(os.fsdecode(state + b"/" + name)).write_bytes(b"%d" % number)
        inner = Path(os.fsdecode(state + b"/d" + name[:200]))
        inner.mkdir()
        (inner / os.fsdecode(name)).write_bytes(b"SQLite format 3\0" + name)
        (inner / "link").symlink_to(os.fsdecode(name))
    before = _whole(agents)
    assert agents.back_up() == []
    _there_and_back(agents)
    assert _whole(agents) == before


@pytest.mark.parametrize("name", NAMES[:4])
def test_a_name_is_printed_safely_on_the_operators_terminal(agents: Any, name: bytes) -> None:
    file = Path(os.fsdecode(os.fsencode(agents.state()) + b"/" + name))
    file.touch()
    os.truncate(file, 17 * TB)
    (left_out,) = agents.back_up()
    assert "16 TB" in left_out.reason
    assert str(left_out).isprintable()
    assert str(left_out).isascii()


def test_sockets_pipes_and_devices_are_no_data(agents: Any) -> None:
    state = agents.state()
    os.mkfifo(state / "pipe")
    os.mkfifo(state / "x.db-wal")
    os.mknod(state / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(state / "loop", stat.S_IFBLK | 0o666, os.makedev(7, 200))
    # The folder's whole path is too long for a socket.
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(state):
        listening.bind("socket")
    (state / "x.db").write_bytes(b"SQLite format 3\0")
    assert agents.back_up() == []
    assert set(agents.stored()) == {"u1", "u1/state", "u1/state/x.db"}
    assert agents.restore() == []


def test_no_set_id_bit_is_stored(agents: Any) -> None:
    for number, mode in enumerate((0o4755, 0o2755, 0o6711, 0o1644)):
        file = agents.state() / str(number)
        file.touch()
        file.chmod(mode)
    (agents.state() / "d").mkdir()
    (agents.state() / "d").chmod(0o3777)
    assert agents.back_up() == []
    assert all(one.mode & ~0o777 == 0 for one in agents.stored().values())
    assert agents.restore() == []
    assert (agents.state() / "0").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("deep", [".", "d", "d/e/f"])
def test_a_hard_link_to_a_file_of_the_hosts_is_left_out(agents: Any, deep: str) -> None:
    secret = agents.folder / "secret"
    secret.write_text("root's own")
    folder = agents.state() / deep
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(agents.state(), 1000, 1000)
    (folder / "mine").write_text("mine")
    os.chown(folder / "mine", 1000, 1000)
    (folder / "mine too").hardlink_to(folder / "mine")
    (folder / "theirs").hardlink_to(secret)
    (folder / "x.db").write_bytes(b"SQLite format 3\0")
    (folder / "x.db-wal").hardlink_to(secret)
    left_out = agents.back_up()
    assert [Path(one.path).name for one in left_out] == ["theirs", "x.db-wal"]
    assert all("hard link" in one.reason for one in left_out)
    assert {"mine", "mine too"} < {Path(name).name for name in agents.stored()}


def _to_link(place: Path, secret: Path) -> None:
    place.unlink()
    place.symlink_to(secret)


def _to_link_to_folder(place: Path, secret: Path) -> None:
    place.unlink()
    place.symlink_to(secret.parent)


def _to_folder(place: Path, secret: Path) -> None:
    place.unlink()
    place.mkdir()
    (place / "f").touch()


def _to_pipe(place: Path, secret: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def _gone(place: Path, secret: Path) -> None:
    place.unlink()


@pytest.mark.parametrize("moment", ["before it is opened", "after it is opened"])
@pytest.mark.parametrize("change", [_to_link, _to_link_to_folder, _to_folder, _to_pipe, _gone])
@pytest.mark.parametrize("content", ["text", "SQLite format 3\0"])
def test_a_file_that_turns_into_something_else_is_one_or_the_other(
    agents: Any,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    change: Callable[[Path, Path], None],
    content: str,
) -> None:
    secret = agents.folder / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_text("root's own")
    place = agents.state() / "x"
    place.write_text(content)
    (agents.state() / "y").write_text("the next")
    (agents.state("u2") / "memory.md").write_text("remember")
    looked_at = no_follow.looked_at

    @contextmanager
    def changed(name: str, at: int) -> Iterator[int]:
        if name == "x" and moment.startswith("before"):
            change(place, secret)
        with looked_at(name, at) as found:
            if name == "x" and moment.startswith("after"):
                change(place, secret)
            yield found

    # What is looked at first is how much there is.
    monkeypatch.setattr(dump, "_refuse_too_much", lambda *_: None)
    monkeypatch.setattr(walk, "looked_at", changed)
    left_out = agents.back_up_in_this_process()
    assert all(one.path == "state/x" for one in left_out)
    stored = agents.stored()
    assert agents.stored_bytes("u1/state/y") == b"the next"
    there = stored.get("u1/state/x")
    assert ("u1/state/x/f" in stored) == (there is not None and there.isdir())
    if there is not None and there.isreg():
        assert agents.stored_bytes("u1/state/x") == content.encode()
    assert there is not None or left_out or change in (_to_pipe, _gone)
    assert agents.stored_bytes("u2/state/memory.md", "u2") == b"remember"
    assert agents.restore_in_this_process() == []


# Exchanges a folder and a link as fast as it can (renameat2 with RENAME_EXCHANGE).
_EXCHANGE = """
import ctypes, sys
libc = ctypes.CDLL(None)
pairs = [(a.encode(), b.encode()) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]
print(flush=True)
while True:
    for a, b in pairs:
        libc.renameat2(-100, a, -100, b, 2)
"""


@pytest.mark.parametrize("names", [["d"], [".hidden", "d"], ["a", "b", "c", "z"]])
def test_a_folder_exchanged_with_a_link_is_one_or_the_other(agents: Any, names: list[str]) -> None:
    outside = agents.folder / "outside"
    outside.mkdir()
    (outside / "evil").write_text("root's own")
    pairs = []
    for name in names:
        (agents.state() / name).mkdir()
        (agents.state() / name / "evil").write_text("mine")
        (agents.state() / f"{name}-link").symlink_to(outside)
        pairs += [str(agents.state() / name), str(agents.state() / f"{name}-link")]
    words = [sys.executable, "-c", _EXCHANGE, *pairs]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as racing:
        try:
            assert racing.stdout is not None
            racing.stdout.readline()
            until = time.monotonic() + 3
            while time.monotonic() < until:
                assert agents.back_up_in_this_process() == []
                stored = agents.stored()
                links = {name for name, one in stored.items() if one.issym()}
                assert not [name for name in stored if str(Path(name).parent) in links]
                for name, one in stored.items():
                    if one.isreg():
                        assert agents.stored_bytes(name) == b"mine"
                shutil.rmtree(agents.copy)
        finally:
            racing.kill()


def test_the_first_reasons_are_named_and_all_are_counted(agents: Any) -> None:
    secret = agents.folder / "secret"
    secret.touch()
    os.chown(agents.state(), 1000, 1000)
    for number in range(50):
        (agents.state() / str(number)).hardlink_to(secret)
    left_out = agents.back_up()
    assert len(left_out) == 21
    assert left_out[-1].path == "30 more paths"


def test_an_unreadable_part_of_a_file_is_reported(
    agents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (agents.state() / "f").write_bytes(b"x" * 3_000_000)
    (agents.state() / "g").write_bytes(b"fine")
    pread = os.pread

    def failing(file: int, count: int, offset: int) -> bytes:
        if 0 < offset < 1_000_000:
            raise OSError(5, "Input/output error")
        return pread(file, count, offset)

    monkeypatch.setattr(os, "pread", failing)
    left_out = agents.back_up_in_this_process()
    assert [one.path for one in left_out] == ["state/f"]
    assert "Input/output error" in left_out[0].reason
    assert len(agents.stored_bytes("u1/state/f")) == 3_000_000
    assert agents.stored_bytes("u1/state/g") == b"fine"


class _Saying(LocalHost):
    def __init__(self, program: str) -> None:
        super().__init__("host")
        self._program = program

    def popen(self, argv: Any, *, stderr: Any) -> "subprocess.Popen[bytes]":
        return super().popen(["sh", "-c", self._program], stderr=stderr)


@pytest.mark.parametrize(
    "program",
    [
        "exec cat >/dev/null",
        "printf 'Please login as the user admin\\n'; cat >/dev/null",
        'printf \'b\\0\\0\\0\\017{"agent": "u1"}\'; cat >/dev/null',
        'printf \'b\\0\\0\\0\\017{"agent": "u1"}d\\0\\0\\1\\0abc\'',
        'printf \'b\\0\\0\\0\\021{"agent": "../x"}z\\0\\0\\0\\0\'',
        "printf 'b\\0\\0\\0\\003{\"az\\0\\0\\0\\0'",
        "printf 'b\\0\\0\\0\\003[1]z\\0\\0\\0\\0'",
        "printf 'e\\0\\0\\0\\002{}z\\0\\0\\0\\0'",
        "kill -9 $$",
        "exit 3",
    ],
)
def test_a_host_with_an_unexpected_answer_is_named(agents: Any, program: str) -> None:
    with pytest.raises(HostFailed, match=r"^host: back up the agents: "):
        fetch_agents(_Saying(program), str(agents.place), agents.copy, data_bytes=1)


def test_the_operator_may_keep_the_agents_elsewhere_by_a_link(agents: Any) -> None:
    (agents.state() / "f").write_text("kept")
    elsewhere = agents.folder / "elsewhere"
    agents.place.rename(elsewhere)
    agents.place.symlink_to(elsewhere)
    (agents.place.parent / "agent.db").touch()
    assert agents.back_up() == []
    assert agents.restore() == []
    assert (agents.state() / "f").read_text() == "kept"
    assert (elsewhere / "u1" / "state" / "f").read_text() == "kept"


def test_no_agents_are_no_failure(agents: Any) -> None:
    (agents.place / "lost+found").mkdir()
    assert agents.back_up() == []
    assert agents.parts == []
    shutil.rmtree(agents.place.parent)
    assert agents.back_up() == []
    assert agents.restore() == []
    assert agents.place.is_dir()
