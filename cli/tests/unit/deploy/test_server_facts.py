"""What a host says of its servers: stopped or not answering, and their certificate alone."""

import os
import socket
import threading
from pathlib import Path

import pytest
from ocmt_cli.deploy.hostside import health as health_module
from ocmt_cli.deploy.hostside.component import Component, StepFailed
from ocmt_cli.deploy.hostside.steps import health
from ocmt_cli.deploy.hostside.supervisor import supervisor_of
from ocmt_common.process_identity import start_ticks


@pytest.fixture
def component(tmp_path: Path) -> Component:
    made = Component("agent", tmp_path / "agent", "process", {}, 1, 1, 1, 2)
    made.release("r1").mkdir(parents=True)
    (made.path / "current").symlink_to("releases/r1")
    return made


def _runs(component: Component) -> None:
    """This process stands in for the release."""
    ready = supervisor_of(component).readiness_socket("r1")
    ready.parent.mkdir(parents=True, exist_ok=True)
    note = f'{{"pid": {os.getpid()}, "ticks": {start_ticks(os.getpid())}}}'
    ready.with_suffix(".pid").write_text(note)
    assert supervisor_of(component).is_alive("r1")


@pytest.mark.parametrize("said", [None, b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n[]"])
def test_a_server_that_runs_and_does_not_answer_is_not_taken_for_stopped(
    component: Component, said: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_ASK_TIMEOUT_S", 0.2)
    assert health(component) is None
    _runs(component)
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(supervisor_of(component).readiness_socket("r1")))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                if said is None:
                    connection.recv(4096)  # until the reader gives up
                else:
                    connection.sendall(said)

        other = threading.Thread(target=answer)
        other.start()
        with pytest.raises(StepFailed, match="r1 runs but does not answer"):
            health(component)
        other.join()


def test_a_stopped_or_missing_server_is_stopped(component: Component) -> None:
    assert health(component) is None
    (component.path / "current").unlink()
    assert health(component) is None


KEY = "-----BEGIN PRIVATE KEY-----\nS0VZ\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "text",
    [
        KEY + CERTIFICATE,
        CERTIFICATE + KEY,
        f"# Ours\n{KEY}{CERTIFICATE}{KEY}",
        f"{CERTIFICATE.strip()}\n{KEY}",
    ],
)
def test_of_a_hosts_file_only_the_certificate_is_read(component: Component, text: str) -> None:
    file = component.path / "tls" / "host.pem"
    file.parent.mkdir()
    file.write_text(text)
    assert component.certificate() == CERTIFICATE
    for broken in (KEY, CERTIFICATE[:-20] + KEY, "", "\xff"):
        file.write_text(broken)
        assert component.certificate() == ""
