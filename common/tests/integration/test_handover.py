"""Two processes share a listening socket; the second takes over without a lost request."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

_SERVER = """
import asyncio, json, os, sys
import uvicorn
from ocmt_common.handover import Handover, HandoverServer

os.environ["LISTEN_PID"] = str(os.getpid())
if int(sys.argv[1]) != 3:
    os.dup2(int(sys.argv[1]), 3)

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(1.5)
    body = os.environ["NAME"].encode()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})

handover = Handover.from_environment()
config = uvicorn.Config(app, lifespan="off", log_config=None, ws="websockets-sansio")
server = HandoverServer(config, handover)
server._first_request_s = float(os.environ["FIRST_REQUEST_S"])
asyncio.run(server.serve_on(handover.listener("api")))
"""

_STANDBY = """
import asyncio, os
from ocmt_common.handover import Handover, standby

async def main():
    if await standby(Handover.from_environment(), "new"):
        print("admitted", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as made:
        yield made


@contextmanager
def _release(
    folder: Path, name: str, listener: socket.socket, *, first_request_s: float = 60
) -> Iterator[subprocess.Popen[bytes]]:
    release = folder / "releases" / name
    release.mkdir(parents=True)
    gate = folder / f"{name}.sock"
    environment = {
        **os.environ,
        "NAME": name,
        "FIRST_REQUEST_S": str(first_request_s),
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "api",
        "OCMT_RELEASE_DIR": str(release),
        "OCMT_GATE_SOCKET": str(gate),
    }
    fd = listener.fileno()
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(fd)], env=environment, pass_fds=[fd]
    ) as process:
        try:
            _until(lambda: _at_gate(gate) == name)
            yield process
        finally:
            process.kill()


def _at_gate(gate: Path) -> str:
    """The release's answer at that socket; empty if it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(gate))
            asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return asking.makefile().read().rpartition("\n")[2]
        except OSError:
            return ""


def _until(met: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not met():
        assert time.monotonic() < until
        time.sleep(0.02)


def _point(folder: Path, name: str) -> None:
    link = folder / "new"
    link.symlink_to(Path("releases") / name)
    link.replace(folder / "current")


def test_a_release_in_standby_answers_at_its_gate_only_until_it_is_current(
    tmp_path: Path, listener: socket.socket
) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    url = f"http://{address}/"
    _point(tmp_path, "old")
    with _release(tmp_path, "old", listener) as old, _release(tmp_path, "new", listener) as new:
        assert {httpx2.get(url).text for _ in range(20)} == {"old"}
        with httpx2.Client() as kept, connect(f"ws://{address}/") as chat:
            assert kept.get(url).text == "old"
            slow = socket.create_connection(listener.getsockname())
            slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")

            _point(tmp_path, "new")
            new.send_signal(signal.SIGUSR1)
            _until(lambda: httpx2.get(url).text == "new")
            old.send_signal(signal.SIGTERM)

            # Old connections and new ones go on; the one in flight gets its answer.
            answers = [kept.get(url).text for _ in range(50)]
            answers += [httpx2.get(url).text for _ in range(50)]
            assert set(answers) <= {"old", "new"}
            slow.settimeout(60)
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
            slow.close()
            # 1012: "service restart", which tells a client to connect again (RFC 6455 registry).
            with pytest.raises(ConnectionClosed) as closed:
                chat.recv(timeout=60)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        old.wait(timeout=60)
        assert httpx2.get(url).text == "new"


def test_connections_that_arrive_meanwhile_wait_for_the_next_release(
    tmp_path: Path, listener: socket.socket
) -> None:
    with socket.create_connection(listener.getsockname()) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        _point(tmp_path, "one")
        with _release(tmp_path, "one", listener):
            waiting.settimeout(60)
            assert b"200" in waiting.recv(1000)


def test_a_connection_without_a_request_yet_is_answered_by_the_ending_release(
    tmp_path: Path, listener: socket.socket
) -> None:
    _point(tmp_path, "old")
    with (
        _release(tmp_path, "old", listener) as old,
        socket.create_connection(listener.getsockname()) as late,
    ):
        # They are accepted in turn: once this one is answered, the one before it is accepted.
        assert httpx2.get(f"http://127.0.0.1:{listener.getsockname()[1]}/").text == "old"
        old.send_signal(signal.SIGTERM)
        time.sleep(2)
        late.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        late.settimeout(60)
        answer = late.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        assert answer.endswith(b"old")
        assert old.wait(timeout=60) is not None


def test_a_silent_connection_does_not_keep_a_release_from_ending(
    tmp_path: Path, listener: socket.socket
) -> None:
    _point(tmp_path, "old")
    with (
        _release(tmp_path, "old", listener, first_request_s=0.1) as old,
        socket.create_connection(listener.getsockname()) as silent,
    ):
        assert httpx2.get(f"http://127.0.0.1:{listener.getsockname()[1]}/").text == "old"
        old.send_signal(signal.SIGTERM)
        silent.settimeout(60)
        assert silent.recv(1) == b""
        old.wait(timeout=60)


def test_a_release_that_does_not_serve_yet_ends_on_request(tmp_path: Path) -> None:
    gate, release = tmp_path / "new.sock", tmp_path / "releases" / "new"
    release.mkdir(parents=True)
    environment = {
        **os.environ,
        "OCMT_RELEASE_DIR": str(release),
        "OCMT_GATE_SOCKET": str(gate),
    }
    with subprocess.Popen(
        [sys.executable, "-c", _STANDBY], env=environment, stdout=subprocess.PIPE
    ) as process:
        try:
            _until(lambda: "standby" in _at_gate(gate))
            _point(tmp_path, "new")
            process.send_signal(signal.SIGUSR1)
            assert process.stdout is not None
            assert process.stdout.readline() == b"admitted\n"
            process.terminate()
            assert process.wait(timeout=60) == -signal.SIGTERM
        finally:
            process.kill()
