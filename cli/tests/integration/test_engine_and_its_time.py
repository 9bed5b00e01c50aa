"""A Docker Engine that is missing, one that hangs, and a slow one."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest
from ocmt_cli import engine as engine_module
from ocmt_cli.down import down
from ocmt_cli.engine import Engine, EngineContainer, EngineSlow
from ocmt_cli.failure import CommandFailed
from ocmt_cli.orphans import end_orphans

_ASK_S = 0.2


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_ASK_S", _ASK_S)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The address at which the engine is expected."""
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


@pytest.fixture
def hanging(address: Path) -> Iterator[None]:
    """An engine that accepts connections and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(address))
        listener.listen()
        yield


@pytest.fixture
def engine(address: Path) -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


class _Slow(BaseHTTPRequestHandler):
    """An engine whose changes take longer than the timeout of a query."""

    protocol_version = "HTTP/1.1"

    def _change(self) -> None:
        threading.Event().wait(5 * _ASK_S)
        self.send_response(204)
        self.end_headers()

    do_POST = do_DELETE = _change

    def address_string(self) -> str:
        return "a Unix socket"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def slow(address: Path) -> Iterator[None]:
    with ThreadingUnixStreamServer(os.fspath(address), _Slow) as server:
        server.daemon_threads = True  # the client keeps its connection
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


# The client leaves a socket that could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_one_that_refuses_is_no_engine_and_leaves_nothing_to_end(
    address: Path, engine: Engine, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(os.fspath(address))
    assert engine.version() is None
    assert not engine.has_image("ocmt/openclaw:any")
    assert end_orphans(tmp_path).left == []


@pytest.mark.usefixtures("hanging")
def test_a_hanging_engine_is_not_mistaken_for_a_missing_one(engine: Engine) -> None:
    with pytest.raises(EngineSlow, match=r"takes too long to answer .*systemctl status docker"):
        engine.version()
    with pytest.raises(EngineSlow):
        engine.has_image("ocmt/openclaw:any")


@pytest.mark.usefixtures("hanging")
def test_down_does_not_claim_that_nothing_is_left_when_the_engine_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandFailed, match=r"could not be stopped: containers.*run this again"):
        down(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("slow")
def test_a_change_may_take_longer_than_a_question(engine: Engine) -> None:
    engine.request("POST", "/containers/one/start").raise_for_status()
    engine.request("DELETE", "/containers/one").raise_for_status()
    engine.stop(EngineContainer("one", "paused"), grace_s=0)


@pytest.fixture
def answering(address: Path) -> Iterator[type]:
    """An engine that answers every change with its class's status and text."""

    class Answers(_Slow):
        answer = (204, "")

        def _change(self) -> None:
            status, text = self.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = _change

    with ThreadingUnixStreamServer(os.fspath(address), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        (304, ""),
        (404, '{"message":"No such container: one"}'),
        (409, '{"message":"removal of container one is already in progress"}'),
    ],
)
def test_stopping_what_has_ended_or_goes_is_no_error(
    engine: Engine, answering: type, answer: tuple[int, str]
) -> None:
    answering.answer = answer  # type: ignore[attr-defined]
    engine.stop(EngineContainer("one", "running"), grace_s=0)


def test_an_engine_that_cannot_stop_a_container_says_why(engine: Engine, answering: type) -> None:
    answering.answer = (500, "cannot kill: permission denied")  # type: ignore[attr-defined]
    with pytest.raises(CommandFailed, match="cannot kill: permission denied"):
        engine.stop(EngineContainer("one", "running"), grace_s=0)
