"""A restore checks all before it changes anything, and is completed before anything is served."""

import errno
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.backup import restoring
from ocmt_cli.deploy.host_connection import HostConnection
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.main import main
from ocmt_testing.deploy.farm import AUTH_TOKEN, VAULT_KEY
from ocmt_testing.deploy.message_proxy import MessageProxy

RELEASE = "20261101T000000Z-000000000001"


class Installation:
    """Management and an agent server, whose data says what it is of, and a backup of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "ocmt.toml"
        self.inventory.write_text(
            "".join(
                f'[hosts.{name}]\naddress = "127.0.0.1"\nssh_port = {port}\nroles = ["{name}"]\n'
                f'supervisor = "pidfile"\nroot = "{folder / name}"\n'
                for name, port in (("mgmt", 2201), ("agent", 2202))
            )
        )
        self.backup = folder / "kept"
        self.env = folder / "mgmt/opt/management-server/.env"
        self.env.parent.mkdir(parents=True)
        self.env.write_text(f"DATA_DIR={folder}/mgmt-data\nVAULT_KEY=k1:{VAULT_KEY}\n")
        agent_env = folder / "agent/opt/ocmt/agent-server/.env"
        agent_env.parent.mkdir(parents=True)
        agent_env.write_text(f"DATA_DIR={folder}/agent-data\nAUTH_TOKEN={AUTH_TOKEN}\n")
        (folder / "mgmt-data").mkdir()
        (folder / "agent-data").mkdir()
        self.fill("old")
        assert self.ocmt("backup", str(self.backup)) == 0

    def fill(self, text: str) -> None:
        for file in ("mgmt-data/management.db", "agent-data/agent.db"):
            (self.folder / file).unlink(missing_ok=True)
            with closing(sqlite3.connect(self.folder / file)) as made, made:
                made.execute("create table t (a)")
                made.execute("insert into t values (?)", (text,))
                made.execute("create table alembic_version (version_num)")
                made.execute("insert into alembic_version values ('0002')")
        state = self.folder / "agent-data/agents/u1/state"
        state.mkdir(parents=True, exist_ok=True)
        (state / "memory.md").write_text(text)

    def found(self) -> tuple[str, str, str]:
        """What management's data, the agent server's and the agent's are of."""
        said = []
        for file in ("mgmt-data/management.db", "agent-data/agent.db"):
            with closing(sqlite3.connect(self.folder / file)) as opened:
                said.append(str(opened.execute("select a from t").fetchone()[0]))
        memory = (self.folder / "agent-data/agents/u1/state/memory.md").read_text()
        return said[0], said[1], memory

    def ocmt(self, *words: str) -> int:
        try:
            return main([*words, "--inventory", str(self.inventory)])
        except SystemExit as ended:
            return int(bool(ended.code))

    def restore(self) -> int:
        return self.ocmt("restore", str(self.backup), "--force")

    def edit_manifest(self, name: str, place: str) -> None:
        file = self.backup / "manifest.json"
        said = json.loads(file.read_text())
        (part,) = (part for part in said["parts"] if part["file"] == name)
        part["place"] = place
        file.write_text(json.dumps(said))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("servers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", MessageProxy(folder / "proxy").path)
        yield Installation(folder)


@pytest.fixture
def installed(made: Installation) -> Iterator[Installation]:
    """The installation, with newer data than its backup."""
    kept = {file: file.read_text() for file in (made.env, made.backup / "manifest.json")}
    made.fill("new")
    yield made
    for file, text in kept.items():
        file.write_text(text)
    for aside in made.folder.glob("*/*before-restore*"):
        shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    (made.env.parent / "current").unlink(missing_ok=True)


def _refused(installed: Installation, capsys: pytest.CaptureFixture[str]) -> str:
    """What a restore says that changes nothing."""
    capsys.readouterr()
    assert installed.restore() == 1
    assert installed.found() == ("new", "new", "new")
    assert not list(installed.folder.glob("*/*before-restore*"))
    return capsys.readouterr().err


def _passes_the_checks(installed: Installation) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoring, "_stage", lambda *_: sys.exit("it would begin"))
        assert installed.restore() == 1
    assert installed.found() == ("new", "new", "new")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("data/mgmt-management.db", "/etc/cron.d/evil"),
        ("data/mgmt-management.db", "{folder}/agent-data/agent.db"),
        ("data/agent-agent.db", "/etc/ssh/sshd_config"),
        ("data/agent-agents/u1.tar.gz", "/etc"),
        ("keys/mgmt-mgmt.env", "/etc/environment"),
    ],
)
def test_an_edited_place_is_refused(
    installed: Installation, capsys: pytest.CaptureFixture[str], name: str, place: str
) -> None:
    place = place.format(folder=installed.folder)
    installed.edit_manifest(name, place)
    told = _refused(installed, capsys)
    assert f"{name} belongs in {place}, but" in told


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        (f"k1:{VAULT_KEY[::-1][1:]}=", False),
        (f"k2:{VAULT_KEY}", False),
        ("", False),
        (f"k2:{VAULT_KEY[::-1][1:]}=,k1:{VAULT_KEY}", True),
    ],
)
def test_a_server_without_the_backups_keys_is_refused(
    installed: Installation, capsys: pytest.CaptureFixture[str], keys: str, *, fits: bool
) -> None:
    text = installed.env.read_text()
    installed.env.write_text(text.replace(f"k1:{VAULT_KEY}", keys))
    if fits:
        _passes_the_checks(installed)
        return
    assert "lacks the backup's key k1" in _refused(installed, capsys)


@pytest.mark.parametrize(
    ("known", "fits"), [(["0001"], False), (["0001", "0002"], True), ([], True)]
)
def test_tables_of_a_newer_release_are_refused(
    installed: Installation, capsys: pytest.CaptureFixture[str], known: list[str], *, fits: bool
) -> None:
    release = installed.env.parent / "releases" / RELEASE
    release.mkdir(parents=True, exist_ok=True)
    (release / "release.json").write_text(json.dumps({"revisions": known}))
    (installed.env.parent / "current").symlink_to(release)
    if fits:
        _passes_the_checks(installed)
        return
    assert f"(revision 0002) than {RELEASE}" in _refused(installed, capsys)


def test_too_little_room_is_refused(
    installed: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "_free", lambda *_: 1000)
    assert "are free. Free some space" in _refused(installed, capsys)


def test_a_database_of_another_kind_is_refused_before_anything_is_changed(
    installed: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    with installed.env.open("a") as env:
        env.write("DATABASE_URL=postgresql://ocmt:x@localhost/ocmt\n")
    assert "The backup is from SQLite" in _refused(installed, capsys)


# The host connections' messages of a restore: lock, status, then begin, halt and finish.
SWITCH = ("begin_restore", "halt", "finish_restore")


@pytest.mark.parametrize(
    ("step", "host"),
    [
        ("begin_restore", "agent"),
        ("finish_restore", "agent"),
        *(
            pytest.param(step, host, marks=pytest.mark.nightly)
            for step in SWITCH
            for host in ("mgmt", "agent")
        ),
    ],
)
def test_a_restore_that_is_cut_is_told_and_completed_by_the_next(
    installed: Installation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    host: str,
) -> None:
    real = HostConnection.ask

    def lost(connection: HostConnection, asked: str, *words: Any, **more: Any) -> Any:
        if (asked, connection.host.name) == (step, host):
            raise HostFailed(host, step, "the connection was lost")
        return real(connection, asked, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(HostConnection, "ask", lost)
        assert installed.restore() == 1
    capsys.readouterr()
    recorded = (step, host) != ("begin_restore", "mgmt")
    assert installed.ocmt("status") == 1
    assert ("RESTORE UNFINISHED" in capsys.readouterr().out) is recorded

    assert installed.restore() == 0
    assert installed.found() == ("old", "old", "old")
    capsys.readouterr()
    installed.ocmt("status")
    assert "UNFINISHED" not in capsys.readouterr().out


@pytest.mark.parametrize("part", ["management.db", "agent.db", "u1.tar.gz", "mgmt.env"])
def test_a_copy_that_fails_changes_nothing_and_stops_nothing(
    installed: Installation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    real = Path.open

    def failing(path: Path, *words: Any, **more: Any) -> Any:
        if path.name.endswith(part) and path.is_relative_to(installed.backup) and words == ("rb",):
            opened.append(path)
            if len(opened) > 1:  # the first one is for its checksum
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path, *words, **more)

    opened: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing)
        assert installed.restore() == 1
    assert len(opened) == 2
    assert installed.found() == ("new", "new", "new")
    capsys.readouterr()
    installed.ocmt("status")
    assert "UNFINISHED" not in capsys.readouterr().out
    assert installed.ocmt("restore", str(installed.backup), "--force") == 0
    assert installed.found() == ("old", "old", "old")


def test_what_was_there_is_kept(
    installed: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert installed.restore() == 0
    told = capsys.readouterr().out
    for folder, name in (("mgmt-data", "management.db"), ("agent-data", "agent.db")):
        (kept,) = (installed.folder / folder).glob(f"{name}.before-restore-*")
        assert str(kept) in told
        with closing(sqlite3.connect(kept)) as opened:
            assert opened.execute("select a from t").fetchone() == ("new",)
