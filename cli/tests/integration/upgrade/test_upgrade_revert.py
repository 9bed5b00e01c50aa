"""`ocmt upgrade revert` against an agent server's double."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from ocmt_cli.main import main
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.upgrade import reverting

ANSWERS: dict[str, tuple[int, object]] = {
    "ada": (200, {}),
    "bob": (409, {"code": "nothing-to-revert-to", "detail": "There is no copy."}),
    "cyd": (503, {"code": "copy-failed", "detail": "See to its folder \x1b[31m."}),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An installation that answers the command, and its recorded requests."""
    found: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, [{"userId": user} for user in users])

        def do_POST(self) -> None:
            found.append(self.path)
            user = self.path.split("/")[3]
            self._say(*ANSWERS.get(user, (404, {"detail": "This user has no agent here."})))

        def _say(self, status: int, body: object) -> None:
            assert self.headers["x-auth-token"]
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None: ...

    users = ["ada", "bob"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    running = SimpleNamespace(port=3000, is_alive=lambda: True)
    monkeypatch.setattr(reverting, "read_record", lambda _: running)
    monkeypatch.setattr(reverting, "agent_port", lambda _: server.server_port)
    monkeypatch.setattr(DataFolder, "auth_token", "token")
    yield found
    server.shutdown()
    server.server_close()


def reverted(*words: str, data: Path) -> int:
    """Run the command; returns the exit code."""
    try:
        return main(["upgrade", "revert", *words, "--data", str(data)])
    except SystemExit as end:
        return int(end.code or 0)


def test_all_who_need_it_go_back_and_the_others_are_no_failure(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reverted("--all", data=tmp_path) == 0
    assert asked == ["/api/containers/ada/revert", "/api/containers/bob/revert"]
    assert capsys.readouterr().out.splitlines() == [
        "ada: reverted; the next message starts the agent"
    ]


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("bob", "There is no copy."),
        ("cyd", "See to its folder \\x1b[31m."),
        ("../x", "This user has no agent here."),
    ],
)
def test_who_is_named_and_cannot_go_back_is_told_why(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], user: str, said: str
) -> None:
    assert reverted("ada", user, data=tmp_path) == 1
    assert said in capsys.readouterr().err
    assert len(asked) == 2
    assert all(path.count("/") == 4 for path in asked)


def test_nobody_and_everybody_at_once_are_refused(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["ada", "--all"]):
        assert reverted(*words, data=tmp_path) == 1
        assert "--all" in capsys.readouterr().err
    assert asked == []


def test_where_nothing_runs_it_says_how_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reverted("--all", data=tmp_path) == 1
    assert "up" in capsys.readouterr().err
