"""The server as a process: how it starts, refuses to start, and ends."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from ocmt_agent.__main__ import _refuse_clear_text
from ocmt_common.agent_api import AUTH_HEADER
from ocmt_common.settings import SettingsError
from ocmt_testing.agent_server.host import TOKEN
from ocmt_testing.ports import free_ports


class Server:
    def __init__(self, data: Path, **values: str) -> None:
        self.port, relay = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            "PATH": os.environ["PATH"],
            "AUTH_TOKEN": TOKEN,
            "DATA_DIR": str(data),
            "PORT": str(self.port),
            "RELAY_PORT": str(relay),
            "RUNTIME": "process",
            "NODE_BINARY": "/nowhere/node",
            "OPENCLAW_DIR": "/nowhere/openclaw",
            **values,
        }

    def refused(self) -> tuple[int, str]:
        """Run it to its end; returns the exit code and its output."""
        done = subprocess.run(
            [sys.executable, "-m", "ocmt_agent"],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Run it, from the moment at which systemd sees it ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            path = Path(self.environ["DATA_DIR"]).parent / "notify"
            path.unlink(missing_ok=True)
            ready.bind(str(path))
            ready.settimeout(60)
            with subprocess.Popen(
                [sys.executable, "-m", "ocmt_agent"],
                env={**self.environ, "NOTIFY_SOCKET": str(path)},
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                try:
                    assert ready.recv(64) == b"READY=1"
                    yield process
                finally:
                    process.kill()


def test_it_serves_notifies_systemd_and_ends_cleanly_with_an_open_event_stream(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path / "data")
    with server.running() as process:
        health = httpx2.get(f"{server.url}/health", timeout=60).json()
        assert health["runtime"] == "process"
        assert health["status"] == "degraded"  # there is no Node.js where the settings say
        with httpx2.stream(
            "GET", f"{server.url}/api/events", headers={AUTH_HEADER: TOKEN}, timeout=60
        ) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: snapshot"
            assert json.loads(next(lines).removeprefix("data: ")) == {"containers": []}
            process.terminate()
            assert [line for line in lines if line] == []
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert TOKEN not in errors
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "agent.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({"AUTH_TOKEN": "short"}, 78, "openssl rand -hex 32"),
        ({"PAUSE_AFTR_MS": "5"}, 78, "did you mean PAUSE_AFTER_MS"),
        ({"DATA_DIR": "/proc/nowhere"}, 78, "DATA_DIR"),
        ({"HOST": "203.0.113.7"}, 78, "HOST: must be 127.0.0.1 or ::1"),
        ({"TLS_DIR": "/nowhere"}, 78, "Run `./ocmt setup` for this host"),
        ({"NODE_BINARY": ""}, 78, "NODE_BINARY"),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_78_and_the_cure(
    tmp_path: Path, values: dict[str, str], code: int, said: str
) -> None:
    returncode, errors = Server(tmp_path / "data", **values).refused()
    assert (returncode, said in errors) == (code, True), errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_a_port_that_systemd_holds_open_to_other_machines_is_refused(address: str) -> None:
    with socket.create_server((address, 0)) as held:
        if address == "127.0.0.1":
            _refuse_clear_text(held)
            return
        with pytest.raises(
            SettingsError, match=r"open on 0\.0\.0\.0 in plain http. Run `./ocmt setup`"
        ):
            _refuse_clear_text(held)


@pytest.mark.parametrize("which", ["PORT", "RELAY_PORT"])
def test_a_taken_port_ends_it_with_75_and_names_the_setting(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(tmp_path / "data", **{which: str(taken.getsockname()[1])})
        returncode, errors = server.refused()
    assert returncode == 75
    assert f"choose another {which}" in errors
    assert "Traceback" not in errors


def test_two_servers_never_share_a_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data).running():
        returncode, errors = Server(data).refused()
    assert returncode == 75
    assert "Another agent server uses" in errors


def test_both_its_listeners_bound_a_requests_head(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    headers = {f"x{number}": "y" for number in range(101)}
    with server.running():
        for port in (server.port, server.environ["RELAY_PORT"]):
            refused = httpx2.get(f"http://127.0.0.1:{port}/", headers=headers, timeout=60)

            assert (refused.status_code, refused.json()["code"]) == (431, "headers-too-large")
