"""A uid for each agent, and a folder whose owner is changed without following links."""

import os
from pathlib import Path

import pytest
from ocmt_agent.runtime.accounts import Account, account_of
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.docker_container import prepare_folders
from ocmt_agent.runtime.removal import remove_folder
from ocmt_testing.needs import require

WHOLE_HOST = "         0          0 4294967295\n"
UNPRIVILEGED_LXC = "         0     100000      65536\n"
SPLIT = "0 1000 1\n1 100000 65535\n"


def test_every_agent_number_has_a_uid_of_its_own() -> None:
    uids = [account_of(number, WHOLE_HOST).uid for number in range(1, 5000)]
    assert len(set(uids)) == len(uids)
    # Above the uids of people, systemd's own, its containers' and /etc/subuid's.
    assert min(uids) > 0x6FFF_FFFF
    assert max(uids) < 2**31 - 1


@pytest.mark.parametrize("uid_map", [UNPRIVILEGED_LXC, SPLIT])
def test_a_host_with_few_uids_gives_those_that_it_has(uid_map: str) -> None:
    uids = {account_of(number, uid_map).uid for number in range(1, 1000)}
    assert len(uids) == 999
    assert uids <= set(range(20_000, 60_000))


@pytest.mark.parametrize(
    ("number", "uid_map"),
    [(40_000, UNPRIVILEGED_LXC), (2**30, WHOLE_HOST), (1, "0 1000 1\n"), (1, "")],
)
def test_a_host_without_enough_uids_is_reported(number: int, uid_map: str) -> None:
    with pytest.raises(ValueError, match=f"number {number}"):
        account_of(number, uid_map)


def owners(state: Path) -> set[tuple[int, int]]:
    found = set()
    for folder, folders, files in os.walk(state):
        for name in (".", *folders, *files):
            seen = (Path(folder) / name).lstat()
            found.add((seen.st_uid, seen.st_gid))
    return found


@pytest.mark.needs("root")
@pytest.mark.parametrize("before", [(0, 0), (1000, 1000), (70_001, 70_001), (70_002, 100)])
def test_state_of_any_owner_becomes_the_agent_s(tmp_path: Path, before: tuple[int, int]) -> None:
    require("root")
    state = tmp_path / "ada" / "state"
    (state / "notes").mkdir(parents=True)
    (state / "notes" / "one").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("not mine")
    (state / "link").symlink_to(outside)
    (state / "dangling").symlink_to("/nowhere")
    for path in (state, *state.rglob("*")):
        os.chown(path, *before, follow_symlinks=False)

    prepare_folders(tmp_path / "ada", Account(70_002, 70_002), {})

    assert owners(state) == {(70_002, 70_002)}
    assert state.stat().st_mode & 0o777 == 0o700
    assert owners(outside) == {(0, 0)}
    # What the agent must not change is not its own.
    for name in ("config/openclaw.json", "account/passwd", "account/group", "config", "account"):
        assert (tmp_path / "ada" / name).stat().st_uid == 0
    assert f"node:x:{70_002}:{70_002}:" in (tmp_path / "ada" / "account" / "passwd").read_text()


@pytest.mark.needs("root")
def test_folders_nested_too_deep_for_python_keep_no_agent_from_starting(tmp_path: Path) -> None:
    require("root")
    state = tmp_path / "ada" / "state"
    state.mkdir(parents=True)
    here = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    try:
        prepare_folders(tmp_path / "ada", Account(70_002, 70_002), {})
        assert os.fstat(here).st_uid == 70_002
        assert state.stat().st_uid == 70_002
    finally:
        os.close(here)
        remove_folder(state)  # pytest's own removal goes no deeper than Python


def test_files_that_a_container_keeps_using_are_on_disk_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    prepare_folders(tmp_path / "ada", Account(os.getuid(), os.getgid()), {})
    for name in ("openclaw.json", "passwd", "group"):
        assert any(one.startswith(f".{name}.") for one in synced)
    assert {"config", "account"} <= set(synced)


@pytest.mark.needs("root")
def test_state_whose_owner_cannot_be_changed_is_reported_and_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("root")
    (tmp_path / "ada" / "state" / "notes").mkdir(parents=True)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "chown").write_text("#!/bin/sh\necho 'chown: no room' >&2\nexit 1\n")
    (programs / "chown").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(RuntimeFailed, match=r"no room.*as root"):
        prepare_folders(tmp_path / "ada", Account(70_002, 70_002), {})
    monkeypatch.undo()

    prepare_folders(tmp_path / "ada", Account(70_002, 70_002), {})
    assert owners(tmp_path / "ada" / "state") == {(70_002, 70_002)}
