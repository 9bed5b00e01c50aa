"""A host lost at any point of the connection is named in the error; no broken pipe escapes."""

import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import IO

import pytest
from ocmt_cli.backup.agents import stage_agents
from ocmt_cli.backup.manifest import Part
from ocmt_cli.backup.streams import fetch, send
from ocmt_cli.deploy.host_connection import HostConnection
from ocmt_cli.deploy.host_failures import HostFailed, Unreachable, explain
from ocmt_cli.deploy.inventory import HostEntry, Inventory, load_inventory
from ocmt_cli.deploy.remote import LocalHost, open_host
from ocmt_testing.deploy.load import until

_LOST = "sys.stderr.write('client_loop: send disconnect: Broken pipe\\n'); sys.exit(255)"
_READ_PROGRAM = "sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))"
_ANSWER = "sys.stdin.buffer.readline(); print('{\"value\": 1}', flush=True)"

# What ssh does, as a program, from the first answer that does not come.
FIRST = {
    "never connected": _LOST,
    "lost while the program is sent": f"sys.stdin.buffer.read(100); {_LOST}",
    "lost when the program is there": f"{_READ_PROGRAM}; {_LOST}",
    "lost when the question is there": f"{_READ_PROGRAM}; sys.stdin.buffer.readline(); {_LOST}",
    "lost in its answer": f"{_READ_PROGRAM}; print('{{\"val', end='', flush=True); {_LOST}",
    "closed to questions before": f"os.close(0); time.sleep(0.2); {_LOST}",
}


class _Lost(LocalHost):
    """Runs a program in place of ssh."""

    def __init__(self, entry: HostEntry, inventory: Inventory, program: str) -> None:
        super().__init__(entry.name)
        self._entry = entry
        self._inventory = inventory
        self._program = f"import os, sys, time; {program}"

    def popen(self, argv: Sequence[str], *, stderr: IO[bytes]) -> "Popen[bytes]":
        return super().popen([sys.executable, "-c", self._program], stderr=stderr)

    def failure(self, code: int, stderr: str, step: str) -> HostFailed:
        return explain(self._entry, self._inventory.deploy, code=code, stderr=stderr, step=step)


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    file = tmp_path / "ocmt.toml"
    file.write_text('[hosts.one]\naddress = "192.0.2.1"\nroles = ["mgmt", "agent"]\n')
    return load_inventory(file)


def _connection(inventory: Inventory, program: str) -> HostConnection:
    entry = inventory.host("one")
    return HostConnection(_Lost(entry, inventory, program), entry, inventory)


@pytest.mark.parametrize("moment", FIRST)
def test_a_host_that_is_lost_is_named(inventory: Inventory, moment: str) -> None:
    connection = _connection(inventory, FIRST[moment])
    for _ in range(2):  # it stays lost
        with pytest.raises(Unreachable, match=r"^one: mgmt: status: the connection was lost"):
            connection.ask("status", "mgmt", "x" * 200_000)
    connection.close()
    connection.close()


# Lost after an answer; the next thing that happens is the connection's end.
AFTER = {
    "after an answer": f"{_READ_PROGRAM}; {_ANSWER}; {_LOST}",
    "after an answer, with more to say": f"{_READ_PROGRAM}; {_ANSWER}; print('x' * 9000); {_LOST}",
    "closed to questions after an answer": f"{_READ_PROGRAM}; {_ANSWER}; os.close(0); {_LOST}",
    "killed after an answer": f"{_READ_PROGRAM}; {_ANSWER}; os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("moment", AFTER)
@pytest.mark.parametrize("unsent", [b"", b"half a question", b"x" * 3_000_000])
def test_a_connection_with_a_host_that_is_lost_ends_quietly(
    inventory: Inventory, moment: str, unsent: bytes
) -> None:
    connection = _connection(inventory, AFTER[moment])
    assert connection.ask("status", "mgmt") == 1
    process = connection._process
    assert process is not None
    assert process.stdin is not None
    process.wait()
    try:
        process.stdin.write(unsent)  # as a question that an interrupt cut
    except BrokenPipeError:
        assert len(unsent) > 100
    connection.close()
    assert process.stdin.closed


@pytest.mark.parametrize("moment", AFTER)
def test_the_next_question_to_a_host_that_was_lost_names_it(
    inventory: Inventory, moment: str
) -> None:
    with _connection(inventory, AFTER[moment]) as connection:
        assert connection.ask("status", "mgmt") == 1
        process = connection._process
        assert process is not None
        if "more to say" not in moment:
            process.wait()
            with pytest.raises(HostFailed, match=r"^one: mgmt: "):
                connection.ask("facts", "mgmt")


def test_a_connection_that_nothing_was_asked_of_ends_quietly(inventory: Inventory) -> None:
    _connection(inventory, _LOST).close()


@pytest.mark.needs("ssh")
def test_a_real_ssh_that_reaches_nothing_is_named_and_ends_quietly(tmp_path: Path) -> None:
    file = tmp_path / "ocmt.toml"
    file.write_text('[hosts.one]\naddress = "127.0.0.1"\nssh_port = 1\nroles = ["mgmt"]\n')
    inventory = load_inventory(file)
    entry = inventory.host("one")
    for _ in range(5):
        connection = HostConnection(open_host(entry, inventory.deploy), entry, inventory)
        with pytest.raises(Unreachable, match="does not answer"):
            connection.ask("status", "mgmt")
        connection.close()


STREAMS = {
    "never connected": _LOST,
    "lost while it reads": f"sys.stdin.buffer.read(100); {_LOST}",
    "lost while it prints": f"print('b' * 9000, flush=True); {_LOST}",
    "lost at the end": f"sys.stdin.buffer.read(); {_LOST}",
}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    file.write_bytes(bytes(5_000_000))
    return file


@pytest.mark.parametrize("moment", STREAMS)
def test_a_host_that_is_lost_during_a_backup_or_restore_is_named(
    inventory: Inventory, tmp_path: Path, large: Path, moment: str
) -> None:
    host = _Lost(inventory.host("one"), inventory, STREAMS[moment])
    first = bytes(1_000_000)
    with pytest.raises(Unreachable, match=r"^one: take: the connection was lost"):
        fetch(host, ["true"], tmp_path / "data" / "new", step="take", first=first)
    with pytest.raises(Unreachable, match=r"^one: give: the connection was lost"):
        send(host, ["true"], large, step="give", first=first)
    part = Part("large", "files", "one", "agent", "/var/lib/ocmt/agents", "", 0)
    with pytest.raises(Unreachable, match=r"^one: restore the agents: the connection was lost"):
        stage_agents(host, "/var/lib/ocmt/agents", tmp_path, [part])


def test_a_connection_with_a_lock_is_kept_while_nothing_is_asked(
    inventory: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_cli.deploy.host_connection._PING_EVERY_S", 0.05)
    asked = tmp_path / "asked"
    program = (
        f"{_READ_PROGRAM}\nfor line in sys.stdin.buffer:\n"
        f" print('{{\"value\": null}}', flush=True)\n open({str(asked)!r}, 'ab').write(line)"
    )
    with _connection(inventory, program) as connection:
        connection.lock("mgmt", what="a restore")
        until(lambda: asked.exists() and asked.read_text().count('"ping"') > 2)
        assert connection.ask("status", "mgmt") is None
