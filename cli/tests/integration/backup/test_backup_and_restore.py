"""Backups over real ssh, of a real SQLite database in use and a real PostgreSQL."""

import gzip
import json
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ocmt_cli.doctor.machine import postgresql_programs
from ocmt_cli.main import main
from ocmt_testing.deploy import farm as deploy_farm
from ocmt_testing.deploy.farm import Farm
from ocmt_testing.needs import require

AGENT_UID = 0x7000_0001
"""As the agent server gives it to a container: more than an old archive's header can say."""


@pytest.fixture
def farm() -> Iterator[Farm]:
    with deploy_farm.farm() as made:
        yield made


def _ocmt(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


def _agents(farm: Farm) -> Path:
    data = farm.folder / "agent-data"
    state = data / "agents" / "u1" / "state"
    state.mkdir(parents=True)
    (state / "memory.md").write_text("remember")
    (state / "link").symlink_to("/etc/passwd")
    for owned in (state, state / "memory.md"):
        os.chown(owned, AGENT_UID, AGENT_UID)
    with sqlite3.connect(data / "agent.db") as database:
        database.execute("create table agents (id text)")
        database.execute("insert into agents values ('u1')")
    database.close()
    return data


@contextmanager
def pairs_written(connection: sqlite3.Connection, *, every_s: float) -> Iterator[None]:
    """Insert rows in pairs during the block, each pair in one transaction."""
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            with connection:
                connection.execute("insert into pairs values (?, 1)", (number,))
                connection.execute("insert into pairs values (?, 2)", (number,))
            number += 1
            ended.wait(every_s)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def test_sqlite_is_copied_whole_while_it_is_written_and_comes_back(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    data = farm.folder / "mgmt-data"
    data.mkdir()
    agent_data = _agents(farm)
    connection = sqlite3.connect(data / "management.db", check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table pairs (a integer, b integer)")
    folder = farm.folder / "copy"
    with pairs_written(connection, every_s=0.002):
        assert _ocmt("backup", str(folder), "--inventory", str(farm.inventory)) == 0
    connection.close()
    told = capsys.readouterr().out
    keys = (folder / "keys" / "mgmt-mgmt.env").read_text()
    assert "VAULT_KEY=" in keys
    assert deploy_farm.VAULT_KEY not in told
    for file in (folder / "data").rglob("*.*"):
        assert deploy_farm.VAULT_KEY.encode() not in file.read_bytes()

    # Refuses, and changes nothing, while there is data.
    before = (data / "management.db").read_bytes()
    assert _ocmt("restore", str(folder), "--inventory", str(farm.inventory)) == 1
    assert "--force" in capsys.readouterr().err
    assert (data / "management.db").read_bytes() == before

    shutil.rmtree(data)
    shutil.rmtree(agent_data)
    env = farm.component("mgmt") / ".env"
    kept = env.read_text()
    env.unlink()
    assert _ocmt("restore", str(folder), "--inventory", str(farm.inventory)) == 0
    assert env.read_text() == kept
    assert env.stat().st_mode & 0o777 == 0o600
    restored = sqlite3.connect(data / "management.db")
    rows = restored.execute("select a, count(*) from pairs group by a").fetchall()
    restored.close()
    assert all(count == 2 for _, count in rows)
    state = agent_data / "agents" / "u1" / "state"
    assert (state / "memory.md").read_text() == "remember"
    assert (state / "memory.md").stat().st_uid == AGENT_UID
    assert (state / "link").is_symlink()
    # The seed's `cp -r backup /opt/ocmt` made a folder in the folder.
    assert not (agent_data / "agents" / "agents").exists()


def test_an_agents_database_is_copied_whole_while_it_is_written(farm: Farm) -> None:
    (farm.folder / "mgmt-data").mkdir()
    sqlite3.connect(farm.folder / "mgmt-data" / "management.db").execute("create table t (a)")
    agent_data = _agents(farm)
    state = agent_data / "agents" / "u1" / "state"
    secret = farm.folder / "secret"
    secret.write_text("root's own")
    (state / "planted.db").symlink_to(secret)
    (state / "planted.db-wal").symlink_to(secret)
    (state / "no.db").write_bytes(b"SQLite format 3\0 only by name")
    os.mkfifo(state / "pipe")
    connection = sqlite3.connect(state / "memory.db", check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma wal_autocheckpoint = 20")
    connection.execute("create table pairs (a integer, b integer)")
    connection.commit()
    folder = farm.folder / "copy"
    with pairs_written(connection, every_s=0.01):
        assert _ocmt("backup", str(folder), "--inventory", str(farm.inventory)) == 0
    connection.close()
    archive = folder / "data" / "agent-agents" / "u1.tar.gz"
    assert b"root's own" not in gzip.decompress(archive.read_bytes())
    shutil.rmtree(agent_data)
    words = ("restore", str(folder), "--force", "--inventory", str(farm.inventory))
    assert _ocmt(*words) == 0
    # Its log is restored too, and is replayed when the database is opened: here, by this test.
    restored = sqlite3.connect(state / "memory.db")
    assert restored.execute("pragma integrity_check").fetchall() == [("ok",)]
    rows = restored.execute("select a, count(*) from pairs group by a").fetchall()
    restored.close()
    assert rows
    assert all(count == 2 for _, count in rows)
    assert (state / "planted.db").is_symlink()
    assert (state / "no.db").read_bytes() == b"SQLite format 3\0 only by name"
    assert (state / "memory.md").stat().st_uid == AGENT_UID


def test_forced_restore_keeps_what_was_there_beside(farm: Farm) -> None:
    (farm.folder / "mgmt-data").mkdir()
    sqlite3.connect(farm.folder / "mgmt-data" / "management.db").execute("create table t (a)")
    agent_data = _agents(farm)
    folder = farm.folder / "copy"
    assert _ocmt("backup", str(folder), "--inventory", str(farm.inventory)) == 0
    memory = agent_data / "agents" / "u1" / "state" / "memory.md"
    memory.write_text("changed since")
    assert _ocmt("restore", str(folder), "--force", "--inventory", str(farm.inventory)) == 0
    assert memory.read_text() == "remember"
    aside = next(agent_data.glob("agents.before-restore-*"))
    assert (aside / "u1" / "state" / "memory.md").read_text() == "changed since"


def test_a_spoiled_backup_is_refused_before_anything_is_written(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    (farm.folder / "mgmt-data").mkdir()
    sqlite3.connect(farm.folder / "mgmt-data" / "management.db").execute("create table t (a)")
    agent_data = _agents(farm)
    folder = farm.folder / "copy"
    assert _ocmt("backup", str(folder), "--inventory", str(farm.inventory)) == 0
    shutil.rmtree(agent_data)
    packed = folder / "data" / "agent-agents" / "u1.tar.gz"
    spoiled = bytearray(packed.read_bytes())
    spoiled[20] ^= 1
    packed.write_bytes(spoiled)
    words = ("restore", str(folder), "--force", "--inventory", str(farm.inventory))
    assert _ocmt(*words) == 1
    assert "checksum differs" in capsys.readouterr().err
    packed.unlink()
    assert _ocmt(*words) == 1
    assert "is missing" in capsys.readouterr().err
    (folder / "manifest.json").write_text(json.dumps({"format": 1}))
    assert _ocmt(*words) == 1
    assert not agent_data.exists()


def test_one_agent_s_excess_is_reported_and_everything_else_is_restored(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    (farm.folder / "mgmt-data").mkdir()
    sqlite3.connect(farm.folder / "mgmt-data" / "management.db").execute("create table t (a)")
    agent_data = _agents(farm)
    greedy = agent_data / "agents" / "greedy" / "state"
    greedy.mkdir(parents=True)
    (greedy / "big").write_bytes(os.urandom(3_000_000))
    folder = farm.folder / "copy"
    words = ("--inventory", str(farm.inventory))
    assert _ocmt("backup", str(folder), "--max-agent-gb", "0.002", *words) == 3
    assert "agent: greedy: its files exceed" in capsys.readouterr().err
    (left_out,) = json.loads((folder / "manifest.json").read_text())["left_out"]
    assert (left_out["host"], left_out["agent"]) == ("agent", "greedy")
    shutil.rmtree(agent_data / "agents")
    assert _ocmt("restore", str(folder), "--force", *words) == 3
    told = capsys.readouterr()
    assert "Restored." in told.out
    assert "agent: greedy: its files exceed" in told.err
    assert (agent_data / "agents" / "u1" / "state" / "memory.md").read_text() == "remember"
    assert not (agent_data / "agents" / "greedy").exists()


def test_a_backup_that_fails_leaves_nothing(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    folder = farm.folder / "copy"
    assert _ocmt("backup", str(folder), "--inventory", str(farm.inventory)) == 1
    assert "mgmt" in capsys.readouterr().err
    assert not folder.exists()
    assert not list(farm.folder.glob(".copy*"))


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL with a password, for this test."""
    require("postgresql")
    found = postgresql_programs()
    assert found is not None
    programs = Path(found)
    folder = Path(tempfile.mkdtemp(prefix="ocmt-pg-"))
    folder.chmod(0o755)
    user = None
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = "postgres"
    password = folder / "password"
    password.write_text("s3cret")
    password.chmod(0o644)
    data = str(folder / "data")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    make = [str(programs / "initdb"), "-D", data, "-U", "ocmt", "-A", "scram-sha-256", "-E", "UTF8",
            f"--pwfile={password}"]  # fmt: skip
    subprocess.run(make, check=True, capture_output=True, cwd=folder, user=user)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [str(programs / "pg_ctl"), "-D", data, "-w"]
    start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder, user=user)
    try:
        yield f"postgresql://ocmt:s3cret@127.0.0.1:{port}/postgres"
    finally:
        stop = [*control, "-m", "fast", "stop"]
        done = subprocess.run(
            stop, check=False, capture_output=True, text=True, cwd=folder, user=user
        )
        told = (folder / "log").read_text()
        shutil.rmtree(folder)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{told}"


def _sql(url: str, text: str) -> str:
    words = ["psql", url, "-tA", "-c", text]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def test_postgresql_comes_back_as_it_was(
    farm: Farm, postgres: str, capsys: pytest.CaptureFixture[str]
) -> None:
    env = farm.component("mgmt") / ".env"
    env.write_text(f"{env.read_text()}DATABASE_URL={postgres}\n")
    _sql(postgres, "create table people (name text); insert into people values ('Ada')")
    folder = farm.folder / "copy"
    assert _ocmt("backup", str(folder), "--inventory", str(farm.inventory)) == 0
    assert "s3cret" not in (folder / "manifest.json").read_text()
    _sql(postgres, "update people set name = 'changed'")
    assert _ocmt("restore", str(folder), "--inventory", str(farm.inventory)) == 1
    assert "PostgreSQL has tables" in capsys.readouterr().err
    assert _sql(postgres, "select name from people") == "changed"
    assert _ocmt("restore", str(folder), "--force", "--inventory", str(farm.inventory)) == 0
    assert _sql(postgres, "select name from people") == "Ada"
    _sql(postgres, "drop table people")
    shutil.rmtree(farm.folder / "agent-data", ignore_errors=True)
    assert _ocmt("restore", str(folder), "--inventory", str(farm.inventory)) == 0
    assert _sql(postgres, "select name from people") == "Ada"
