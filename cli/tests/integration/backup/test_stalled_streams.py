"""A host whose backup or restore stands still is named, and does not block the command for ever."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest
from ocmt_cli.backup import streams
from ocmt_cli.backup.agents import fetch_agents
from ocmt_cli.backup.streams import fetch, send
from ocmt_cli.deploy.host_failures import Unreachable
from ocmt_cli.deploy.remote import LocalHost

STALLS = {
    "before the first byte": "exec sleep 1000",
    "in the middle": "printf some; exec sleep 1000",
    "while it reads": "head -c 100 >/dev/null; exec sleep 1000",
    "with its output closed": "exec >&-; exec sleep 1000",
}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALLED_S", 0.4)


@pytest.mark.parametrize("moment", STALLS)
def test_a_stalled_host_is_named(tmp_path: Path, moment: str) -> None:
    host, argv = LocalHost("one"), ["sh", "-c", STALLS[moment]]
    large = tmp_path / "large"
    large.write_bytes(bytes(3_000_000))
    with pytest.raises(Unreachable, match=r"^one: take: no answer within 0 s. The host accepts"):
        fetch(host, argv, tmp_path / "new", step="take", first=b"x")
    with pytest.raises(Unreachable, match=r"^one: give: no answer within 0 s. The host accepts"):
        send(host, argv, large, step="give", first=b"x")


def test_a_host_that_stalls_in_its_agents_is_named(tmp_path: Path) -> None:
    class Stalled(LocalHost):
        def popen(self, argv: Sequence[str], *, stderr: IO[bytes]) -> "subprocess.Popen[bytes]":
            return super().popen(["sleep", "1000"], stderr=stderr)

    with pytest.raises(Unreachable, match=r"^one: back up the agents: no answer"):
        fetch_agents(Stalled("one"), "/nowhere", tmp_path, data_bytes=1)


def test_a_slow_host_that_moves_is_waited_for(tmp_path: Path) -> None:
    slow = "for i in 1 2 3 4 5 6 7 8; do sleep 0.1; printf .; done"
    fetch(LocalHost("one"), ["sh", "-c", slow], tmp_path / "new", step="take")
    assert (tmp_path / "new").read_text() == "........"
