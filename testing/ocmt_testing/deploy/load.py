"""Load while servers are replaced: requests, chats, model calls."""

import json
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ocmt_testing.deploy.farm import Farm

_SERVICE_RESTART = 1012
_ANSWER_S = 60
# Not used, but saves each new client from loading the system's certificates, which is slow.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Threads:
    """Threads that run during a `with` block, until `_stopping` is set."""

    def __init__(self, threads: list[threading.Thread]) -> None:
        self.failures: list[str] = []
        self._stopping = threading.Event()
        self._threads = threads

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


class Load(_Threads):
    """Requests the servers' health continuously, over kept and new connections."""

    def __init__(self, *urls: str) -> None:
        self.versions: set[str] = set()
        self.count = 0
        self.slowest_s = 0.0
        super().__init__(
            [
                threading.Thread(target=self._run, args=(url, kept))
                for url in urls
                for kept in (True, False)
            ]
        )

    def _run(self, url: str, kept: bool) -> None:
        with ExitStack() as stack:
            client = stack.enter_context(httpx2.Client(timeout=60, trust_env=False))
            while not self._stopping.is_set():
                begun = time.monotonic()
                try:
                    if kept:
                        answer = client.get(url)
                    else:
                        answer = httpx2.get(url, timeout=60, verify=_NO_TLS, trust_env=False)
                except httpx2.HTTPError as error:
                    self.failures.append(f"{url}: {error!r}")
                    continue
                self.count += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
                self.versions.add(answer.json().get("version", ""))
                if answer.status_code != 200 and not _waits_for_its_database(answer):
                    self.failures.append(f"{url}: {answer.status_code} {answer.text}")
                # A few hundred requests a second would leave the machine no time for the deploy.
                self._stopping.wait(0.03)


def _waits_for_its_database(answer: httpx2.Response) -> bool:
    """Whether the server is unhealthy only because its database is slow, as on a busy machine."""
    detail = answer.json().get("checks", {}).get("database", {}).get("detail") or ""
    return answer.status_code == 503 and "did not answer within" in detail


class Person:
    """A signed-in user of the farm's management server, and their agent."""

    def __init__(
        self, farm: Farm, *, port: int = 0, python: Path | None = None, env_file: Path | None = None
    ) -> None:
        """`port`, `python` and `env_file` are for a management server other than the farm's."""
        self.farm = farm
        self.origin = f"http://127.0.0.1:{port or farm.port}"
        place = farm.component("mgmt")
        python = python or place / "current" / "venv" / "bin" / "python"
        link = subprocess.run(
            [python, "-m", "ocmt_management", "sign-in-link", "--email", "ada@example.com",
             "--env-file", env_file or place / ".env"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        browser = httpx2.Client(base_url=self.origin, trust_env=False, timeout=60)
        browser.headers["origin"] = self.origin
        token = link.partition("#")[2]
        browser.post("/api/auth/session", json={"token": token}).raise_for_status()
        self.cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        self.id = str(browser.get("/api/me").json()["user"]["id"])
        browser.close()

    def chat(self) -> ClientConnection:
        """An open chat socket, like the page's."""
        url = f"ws{self.origin.removeprefix('http')}/api/chat"
        headers = {"cookie": self.cookie, "origin": self.origin}
        return connect(url, additional_headers=headers, open_timeout=60)

    def gateway_pid(self) -> int:
        """The pid of the agent's gateway."""
        mark = f"OPENCLAW_STATE_DIR={self.farm.folder}/agent-data/agents/{self.id}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return min(found)

    def agent_token(self) -> str:
        environ = Path(f"/proc/{self.gateway_pid()}/environ").read_bytes().split(b"\0")
        values = dict(one.decode().partition("=")[::2] for one in environ if one)
        return values["OCMT_AGENT_TOKEN"]


class Chats(_Threads):
    """Tabs of one user that send the next message after each answer.

    On close code 1012, each behaves like the page: it reconnects, repeats unanswered messages with
    the same id, and looks for the answer in the history, since the message may have been answered
    meanwhile. A message that was accepted but failed is sent as a new one. Any other end of a
    socket and any error without `retry` is a failure.
    """

    def __init__(self, person: Person, count: int = 4) -> None:
        self.turns = 0
        self.restarts = 0
        """Sockets that were closed with 1012."""
        self.slowest_s = 0.0
        self._person = person
        super().__init__([threading.Thread(target=self._run) for _ in range(count)])

    def _run(self) -> None:
        waiting: str | None = None
        while not self._stopping.is_set():
            try:
                with self._person.chat() as chat:
                    while not self._stopping.is_set():
                        again, waiting = waiting is not None, waiting or str(uuid.uuid4())
                        self._turn(chat, waiting, again=again)
                        waiting = None
                        self._stopping.wait(0.05)
            except ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code == _SERVICE_RESTART:
                    self.restarts += 1
                else:
                    self.failures.append(f"cut: {closed!r}")
            except (OSError, TimeoutError, InvalidStatus) as error:
                self.failures.append(f"not connected: {error!r}")
                self._stopping.wait(0.5)

    def _turn(self, chat: ClientConnection, message: str, *, again: bool) -> None:
        begun = time.monotonic()
        accepted = False
        _send(chat, message)
        while True:
            frame = json.loads(chat.recv(timeout=_ANSWER_S))
            if frame["type"] == "error":
                if not frame["retry"]:
                    self.failures.append(str(frame))
                    return
                self._stopping.wait(0.5)
                again = not accepted
                if accepted:
                    message, accepted = str(uuid.uuid4()), False
                _send(chat, message)
            elif frame["type"] == "accepted":
                accepted = True
                if again:
                    chat.send(json.dumps({"type": "history"}))
            elif _answers(frame, message):
                self.turns += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
                return


def _send(chat: ClientConnection, message: str) -> None:
    chat.send(json.dumps({"type": "send", "id": message, "text": "Hello"}))


def _answers(frame: dict[str, Any], message: str) -> bool:
    """Whether the frame is the message's answer, or a history that contains it."""
    if frame["type"] == "final":
        return bool(frame["runId"] == message)
    rows = frame["messages"] if frame["type"] == "history" else []
    asked = next((at for at, row in enumerate(rows) if row["id"] == message), len(rows))
    return any(row["role"] == "assistant" for row in rows[asked:])


class ModelCalls(_Threads):
    """An agent that calls its model continuously through the relay."""

    def __init__(self, farm: Farm, token: str) -> None:
        self.count = 0
        self._url = f"http://127.0.0.1:{farm.relay_port}/llm/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {token}"}
        super().__init__([threading.Thread(target=self._run)])

    def _run(self) -> None:
        body = {
            "model": "default", "stream": True, "messages": [{"role": "user", "content": "Hello"}],
        }  # fmt: skip
        while not self._stopping.is_set():
            try:
                answer = httpx2.post(
                    self._url,
                    json=body,
                    headers=self._headers,
                    timeout=60,
                    verify=_NO_TLS,
                    trust_env=False,
                )
            except httpx2.HTTPError as error:
                self.failures.append(repr(error))
                continue
            self.count += 1
            if answer.status_code != 200 or "[DONE]" not in answer.text:
                self.failures.append(f"{answer.status_code} {answer.text[-200:]}")
            self._stopping.wait(0.02)


def until(met: Callable[[], bool], *, within_s: float = 60) -> None:
    limit = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < limit
        time.sleep(0.05)
