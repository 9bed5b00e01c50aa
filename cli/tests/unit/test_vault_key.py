"""`ocmt vault --rotate`, killed at each step, and twice at once."""

import os
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli import vault_key
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder, open_data_folder
from ocmt_cli.up.run_state import Record, ServerRecord
from ocmt_common.file_lock import try_lock

BEFORE = "# mine\nSMTP_HOST=smtp.acme.io\n"


class Killed(BaseException):
    """The command is gone."""


class World:
    """The management server and its database, which outlive the command."""

    def __init__(self, data: DataFolder) -> None:
        self.data = data
        self.rows = {"k1"}
        """The keys that encrypt something."""
        self.server = ["k1"]
        self.steps: list[str] = []
        self.kill_at: int | None = None
        self.made = 1

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.kill_at:
            raise Killed

    @property
    def file(self) -> list[str]:
        text = self.data.setting(self.data.management_env, "VAULT_KEY")
        return [one.partition(":")[0] for one in text.split(",")]

    def check(self) -> None:
        """What encrypts anything can be opened, by the server and after its next start."""
        assert self.rows <= set(self.server)
        assert self.rows <= set(self.file)

    def run_management(self, data: DataFolder, *words: str, **_: Any) -> str | None:
        self.step(words[1])
        if words[1] == "new":
            self.made += 1
            return f"k{self.made}:AAAA\n"
        assert words[1] == "rewrap"
        self.rows = {self.file[0]}
        self.step("rewrapped")
        return None

    def kill(self, pid: int, number: int) -> None:
        assert pid == 4711
        self.step("reread")
        self.server = self.file

    def metrics(self, url: str) -> str:
        first, *others = self.server
        values = [f'ocmt_vault_key{{id="{first}"}} 1']
        values += [f'ocmt_vault_key{{id="{one}"}} 0' for one in others]
        return "\n".join(reversed(values)) + "\n"

    def rotate(self) -> list[str]:
        said: list[str] = []
        vault_key.rotate_key(self.data, port=1, report=said.append)
        return said


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "management.env").write_text(BEFORE)
    made = World(open_data_folder(tmp_path))
    monkeypatch.setattr(vault_key, "run_management", made.run_management)
    monkeypatch.setattr(vault_key, "get_text", made.metrics)
    monkeypatch.setattr(os, "kill", made.kill)
    record = Record(
        phase="running", port=1, runtime="process", servers={"management": ServerRecord(4711, "")}
    )
    monkeypatch.setattr(Record, "is_alive", lambda _: True)
    monkeypatch.setattr(vault_key, "read_record", lambda _: record)
    return made


def test_the_key_is_replaced_and_the_old_one_leaves(world: World) -> None:
    said = world.rotate()
    assert (world.file, world.server, world.rows) == (["k2"], ["k2"], {"k2"})
    assert world.steps == ["new", "reread", "rewrap", "rewrapped", "reread"]
    assert "k1 is no longer used" in said[-1]
    text = world.data.management_env.read_text()
    assert text.startswith(BEFORE)
    assert text.count("VAULT_KEY=") == 1
    assert (world.data.management_env.stat().st_mode & 0o777) == 0o600
    assert world.rotate()
    assert world.file == ["k3"]


@pytest.mark.parametrize("at", range(1, 7))
def test_killed_at_any_step_it_is_finished_by_the_next_run(world: World, at: int) -> None:
    world.kill_at = at
    if at < 6:
        with pytest.raises(Killed):
            world.rotate()
    world.check()
    world.kill_at = None
    world.rotate()
    world.check()
    assert world.file == world.server
    assert len(world.file) == 1
    assert world.rows == set(world.file)


def test_two_at_once_are_one(world: World) -> None:
    held = try_lock(world.data.root / "vault-key.lock")
    assert held is not None
    with held, pytest.raises(CommandFailed, match="by another process"):
        world.rotate()
    assert (world.file, world.steps) == (["k1"], [])


def test_a_server_that_does_not_take_the_key_keeps_the_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_key, "_WITHIN_S", 0)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    with pytest.raises(CommandFailed, match="does not use k2, k1"):
        world.rotate()
    assert (world.file, world.rows) == (["k2", "k1"], {"k1"})
    world.check()


def test_a_stopped_server_needs_no_signal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Record, "is_alive", lambda _: False)
    world.rotate()
    assert (world.file, world.rows) == (["k2"], {"k2"})
    assert "reread" not in world.steps
