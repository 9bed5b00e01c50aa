"""Archives that an agent has manipulated: restoring them changes nothing outside of the agent."""

import errno
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.backup.hostside import frames, no_follow, restore

Entry = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]
EVIL = b"* * * * * root evil"


def _file(path: str, data: bytes = EVIL, *, mode: int = 0o644, uid: int = 1000) -> Entry:
    made = tarfile.TarInfo(path)
    made.mode, made.uid, made.gid = mode, uid, uid
    return made, data


def _entry(path: str, kind: bytes, target: str = "", *, mode: int = 0o755) -> Entry:
    made = tarfile.TarInfo(path)
    made.type, made.linkname, made.mode, made.uid, made.gid = kind, target, mode, 1000, 1000
    return made


def _folder(path: str, *, mode: int = 0o755) -> Entry:
    return _entry(path, tarfile.DIRTYPE, mode=mode)


def _link(path: str, target: str) -> Entry:
    return _entry(path, tarfile.SYMTYPE, target)


def _sparse(path: str, size: str, extents: bytes) -> Entry:
    made = tarfile.TarInfo(path)
    made.pax_headers = {"OCMT.size": size, "OCMT.extents": str(len(extents))}
    return made, extents + b"data"


# {out}: a folder of the host that no agent may touch.
HOSTILE: dict[str, Sequence[Entry]] = {
    "an exchanged folder": [
        _link("u1/state/d", "{out}"),
        _folder("u1/state/d", mode=0o700),
        _file("u1/state/d/evil"),
    ],
    "an exchanged hidden folder, deeper": [
        _folder("u1/state/a"),
        _link("u1/state/a/.hidden", "../../../../../outside"),
        _folder("u1/state/a/.hidden"),
        _file("u1/state/a/.hidden/evil"),
    ],
    "a folder exchanged after its file": [
        _folder("u1/state/d"),
        _file("u1/state/d/good"),
        _link("u1/state/d", "{out}"),
        _file("u1/state/d/evil"),
    ],
    "a file below a link": [_link("u1/state/d", "{out}"), _file("u1/state/d/evil")],
    "a folder below a link": [_link("u1/state/d", "{out}"), _folder("u1/state/d/evil")],
    "a link below a link": [_link("u1/state/d", "{out}"), _link("u1/state/d/evil", "passwd")],
    "a link below a later link": [
        _link("u1/state/d/evil", "passwd"),
        _link("u1/state/d", "{out}"),
    ],
    "a file over a link": [_link("u1/state/f", "{out}/evil"), _file("u1/state/f")],
    "a link over a file": [_file("u1/state/f"), _link("u1/state/f", "{out}/evil")],
    "a file twice": [_file("u1/state/f"), _file("u1/state/f")],
    "a file below a file": [_file("u1/state/f"), _file("u1/state/f/evil")],
    "a file in no folder": [_file("u1/state/nowhere/evil")],
    "a hard link out": [_entry("u1/state/h", tarfile.LNKTYPE, "{out}/own")],
    "a hard link up": [_entry("u1/state/h", tarfile.LNKTYPE, "../../../../outside/own")],
    "a hard link inside": [
        _file("u1/state/f"),
        _entry("u1/state/h", tarfile.LNKTYPE, "u1/state/f"),
    ],
    "a path upwards": [_file("u1/state/../../../../outside/evil")],
    "a path through a dot": [_file("u1/./state/f")],
    "an absolute path": [_file("{out}/evil")],
    "another agent's file": [_file("u2/state/evil")],
    "no agent's file": [_file("evil")],
    "a link for the state's folder": [_link("u1/config", "{out}"), _file("u1/config/evil")],
    "a character device": [_entry("u1/state/null", tarfile.CHRTYPE)],
    "a block device": [_entry("u1/state/sda", tarfile.BLKTYPE)],
    "a pipe": [_entry("u1/state/pipe", tarfile.FIFOTYPE)],
    "an unknown kind": [_entry("u1/state/x", b"Z")],
    "a set-user-ID file": [_file("u1/state/sh", mode=0o4755)],
    "a set-group-ID file": [_file("u1/state/sh", mode=0o2755)],
    "a set-group-ID folder": [_folder("u1/state/d", mode=0o2775)],
    "1,100 folders": [_folder("u1/state/" + "/".join("d" * n)) for n in range(1, 1101)],
    "a name that is too long": [_file("u1/state/" + "n" * 256)],
    "a list of extents that is no list": [_sparse("u1/state/s", "99", b"one two\n")],
    "extents beyond the size": [_sparse("u1/state/s", "10", b"9 4\n")],
    "extents backwards": [_sparse("u1/state/s", "99", b"50 2\n10 2\n")],
    "extents without data": [_sparse("u1/state/s", "99", b"10 40\n")],
    "a size that is no number": [_sparse("u1/state/s", "much", b"0 4\n")],
    "a size that no disk has": [_sparse("u1/state/s", str(2**62), b"0 4\n")],
}


def _aimed(entry: Entry, outside: Path) -> Entry:
    made, data = entry if isinstance(entry, tuple) else (entry, b"")
    made = copy(made)
    made.name = made.name.replace("{out}", str(outside))
    made.linkname = made.linkname.replace("{out}", str(outside))
    return (made, data) if data else made


def _tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder: mode, owner and content."""
    found = {}
    for one in [folder, *sorted(folder.rglob("*"))]:
        seen = one.lstat()
        content = one.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
        found[str(one)] = (seen.st_mode, seen.st_uid, content)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    made = tmp_path / "outside"
    made.mkdir(mode=0o755)
    (made / "own").write_text("root's")
    return made


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_agents_bad_archive_fails_that_agent_and_touches_nothing_else(
    agents: Any, outside: Path, kind: str
) -> None:
    before = _tree(outside)
    agents.craft("u0", _file("u0/state/memory.md", b"remember"))
    agents.craft("u1", *(_aimed(entry, outside) for entry in HOSTILE[kind]))
    agents.craft("u2", _file("u2/state/memory.md", b"remember"))
    refused = agents.restore_in_this_process()
    assert _tree(outside) == before
    assert [(one.agent, one.path) for one in refused] == [("u1", "")]
    assert refused[0].reason.isprintable()
    assert sorted(one.name for one in agents.place.iterdir()) == ["u0", "u2"]
    for good in ("u0", "u2"):
        assert (agents.place / good / "state" / "memory.md").read_text() == "remember"
    assert not (agents.folder / "data" / "evil").exists()


@pytest.mark.parametrize("spoil", [b"", b"no gzip at all", "cut", "flipped"])
def test_an_archive_that_cannot_be_read_fails_that_agent(agents: Any, spoil: bytes | str) -> None:
    for agent in ("u0", "u1", "u2"):
        agents.craft(agent, _file(f"{agent}/state/memory.md", os.urandom(3_000_000)))
    file = agents.copy / "data/host-agents/u1.tar.gz"
    whole = bytearray(file.read_bytes())
    if spoil == "flipped":
        whole[len(whole) // 2] ^= 0xFF
    elif spoil == "cut":
        del whole[len(whole) // 2 :]
    file.write_bytes(spoil if isinstance(spoil, bytes) else whole)
    refused = agents.restore()
    assert [one.agent for one in refused] == ["u1"]
    assert sorted(one.name for one in agents.place.iterdir()) == ["u0", "u2"]


@pytest.mark.parametrize("uid", [0, 33, 4_000_000])
def test_restored_files_belong_to_the_agent_whatever_the_archive_says(
    agents: Any, uid: int
) -> None:
    agents.craft(
        "u1", _file("u1/state/f", uid=uid), _folder("u1/state/d"), _link("u1/state/l", "f"),
        _file("u1/state/d/f", uid=uid), _file("u1/openclaw.json", uid=uid),
    )  # fmt: skip
    assert agents.restore() == []
    home = agents.place / "u1"
    owned = {one.name: (one.lstat().st_uid, one.lstat().st_gid) for one in home.rglob("*")}
    assert owned == {
        "state": (1000, 1000), "f": (1000, 1000), "d": (1000, 1000), "l": (1000, 1000),
        "openclaw.json": (0, 0),
    }  # fmt: skip


def test_the_owner_that_an_agent_has_on_the_host_now_comes_first(agents: Any) -> None:
    os.chown(agents.state(), 100_017, 100_017)
    agents.craft("u1", _file("u1/state/f"), _link("u1/state/l", "f"))
    assert agents.restore() == []
    for name in (".", "f", "l"):
        assert (agents.state() / name).lstat().st_uid == 100_017


def test_links_modes_and_times_come_back(agents: Any) -> None:
    state = agents.state()
    (state / "node_modules" / ".bin").mkdir(parents=True)
    (state / "node_modules" / ".bin" / "tool").symlink_to("../tool/run.js")
    (state / "absolute").symlink_to("/home/node/.openclaw/f")
    (state / "dangling").symlink_to("nowhere")
    for name, mode in (("f", 0o640), ("run", 0o755), ("secret", 0o400), ("none", 0o000)):
        (state / name).write_text(name)
        (state / name).chmod(mode)
        os.utime(state / name, (1_700_000_000, 1_700_000_000))
    (state / "closed").mkdir(mode=0o500)
    (state / "closed" / "f").write_text("inside")
    before = _tree(agents.place)
    assert agents.back_up() == []
    shutil.rmtree(agents.folder / "data")
    assert agents.restore() == []
    after = _tree(agents.place)
    del before[str(agents.place)], after[str(agents.place)]
    assert after == before
    assert (state / "f").stat().st_mtime == 1_700_000_000
    assert str((state / "node_modules" / ".bin" / "tool").readlink()) == "../tool/run.js"
    assert str((state / "absolute").readlink()) == "/home/node/.openclaw/f"


def test_the_kind_of_runtime_comes_back_and_the_hosts_own_comes_first(agents: Any) -> None:
    agents.state()
    kind = agents.place / ".runtime"
    kind.write_text("docker")
    agents.back_up()
    kind.write_text("process")
    agents.restore()
    assert kind.read_text() == "process"
    shutil.rmtree(agents.place)
    agents.restore()
    assert kind.read_text() == "docker"


def _everything(agents: Any, *entries: Entry) -> None:
    """A backup of format 1: one archive of all agents."""
    first = [_folder("."), _file(".runtime", b"process"), _folder("u1"), _folder("u1/state")]
    last = [_folder("u2"), _folder("u2/state"), _file("u2/state/memory.md", b"remember")]
    agents.craft("u1", *entries, *last, before=first)
    made = agents.parts.pop()
    (agents.copy / made.file).rename(agents.copy / "data" / "host-agents.tar.gz")
    agents.parts.append(replace(made, file="data/host-agents.tar.gz"))


def test_a_backup_of_format_1_is_restored(agents: Any) -> None:
    _everything(agents, _file("u1/state/f", b"old"), _link("u1/state/l", "f"))
    assert agents.restore() == []
    assert (agents.state() / "l").read_text() == "old"
    assert (agents.state("u2") / "memory.md").read_text() == "remember"
    assert (agents.place / ".runtime").read_text() == "process"


@pytest.mark.parametrize(
    "kind", ["an exchanged folder", "a file below a link", "a file over a link", "a path upwards",
             "a set-user-ID file", "a character device"],
)  # fmt: skip
def test_of_a_backup_of_format_1_a_bad_agent_is_refused_alone(
    agents: Any, outside: Path, kind: str
) -> None:
    before = _tree(outside)
    _everything(agents, *(_aimed(entry, outside) for entry in HOSTILE[kind]))
    refused = agents.restore()
    assert _tree(outside) == before
    assert [one.agent for one in refused] == ["u1"]
    assert (agents.state("u2") / "memory.md").read_text() == "remember"
    assert not (agents.place / "u1").exists()


@pytest.mark.parametrize("name", ["pwrite", "mkdir", "symlink"])
def test_a_full_disk_ends_the_restore_before_anything_is_replaced(
    agents: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (agents.state() / "f").write_text("there before")
    agents.craft("u1", _folder("u1/state/d"), _file("u1/state/f"), _link("u1/state/l", "f"))
    real = getattr(os, name)

    def full(*words: Any, **more: Any) -> Any:
        if name == "mkdir" and words[0] != "d":
            return real(*words, **more)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, name, full)
        with pytest.raises(OSError, match="No space left"):
            restore.stage_agents(agents.place, agents.as_sent(), io.StringIO())
    assert (agents.state() / "f").read_text() == "there before"
    assert [one.name for one in agents.place.parent.iterdir()] == ["agents"]


def test_nothing_is_replaced_before_the_switch(agents: Any) -> None:
    (agents.state() / "f").write_text("there before")
    agents.craft("u1", _file("u1/state/f"))
    restore.stage_agents(agents.place, agents.as_sent(), io.StringIO())
    assert (agents.state() / "f").read_text() == "there before"


@pytest.mark.parametrize("cut", [1, 5, 30, 500])
def test_a_connection_that_is_cut_replaces_nothing(agents: Any, cut: int) -> None:
    (agents.state() / "f").write_text("there before")
    agents.craft("u1", _file("u1/state/f"))
    agents.craft("u2", _file("u2/state/f"))
    whole = agents.as_sent().read()
    with pytest.raises(frames.BadFrame):
        restore.stage_agents(agents.place, io.BytesIO(whole[:-cut]), io.StringIO())
    assert (agents.state() / "f").read_text() == "there before"
    assert [one.name for one in agents.place.parent.iterdir()] == ["agents"]


def test_a_draft_that_a_killed_restore_left_is_replaced(agents: Any) -> None:
    draft = agents.place.with_name(".agents.restore")
    (draft / "u9").mkdir(parents=True)
    agents.craft("u1", _file("u1/state/f"))
    out = io.StringIO()
    restore.stage_agents(agents.place, agents.as_sent(), out)
    said = json.loads(out.getvalue())
    assert said == {"staged": str(draft), "refused": []}
    assert [one.name for one in draft.iterdir()] == ["u1"]


def _by_link(place: Path) -> None:
    place.parent.rename(place.parent.with_name("real"))
    place.parent.symlink_to("real")
    os.chown(place.parent, 1000, 1000, follow_symlinks=False)


def _by_another_user(place: Path) -> None:
    (place.parent / "own").mkdir()
    os.chown(place.parent, 1000, 1000)


def _open_to_all(place: Path) -> None:
    place.parent.chmod(0o777)


@pytest.mark.parametrize("change", [_by_link, _by_another_user, _open_to_all])
def test_a_data_folder_that_others_may_exchange_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    place = tmp_path / "var" / "data"
    place.mkdir(parents=True)
    assert no_follow.own_folder(place) == place
    change(place)
    with pytest.raises(no_follow.Refused):
        no_follow.own_folder(place)
