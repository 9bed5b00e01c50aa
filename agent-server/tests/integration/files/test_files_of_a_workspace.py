"""Files of a workspace: what an agent makes of it never leads out of it, nor blocks."""

import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from ocmt_agent.decisions.disk_limit import DiskLimit, Fullness, Standing
from ocmt_agent.files.workspace import MOST_UPLOAD_BYTES
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import Host, open_host

FILES = "/api/containers/ada/files"
CONTENT = f"{FILES}/content"


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    runtime = FakeRuntime()
    runtime.root = tmp_path / "agents"
    async with open_host(tmp_path, runtime=runtime) as running:
        await running.provision()
        yield running


@pytest.fixture
def workspace(host: Host) -> Path:
    folder = host.runtime.home("ada") / "state" / "workspace"
    folder.mkdir(parents=True)
    return folder


async def entries(host: Host, path: str = "") -> dict[str, str]:
    answer = await host.client.get(FILES, params={"path": path})
    assert answer.status_code == 200, answer.text
    return {entry["name"]: entry["kind"] for entry in answer.json()["entries"]}


@pytest.mark.parametrize("state", [S.RUNNING, S.PAUSED, S.STOPPED])
async def test_files_are_read_and_written_in_every_state_and_wake_nothing(
    host: Host, workspace: Path, state: S
) -> None:
    agent = host.parts.registry.get("ada")
    if state is not S.RUNNING:
        await host.orders.hibernate("ada", "pause" if state is S.PAUSED else "stop")
    before = (agent.state, agent.activities, dict(host.runtime.calls))
    (workspace / "memory").mkdir()
    (workspace / "memory" / "today.md").write_text("It rained.")
    (workspace / "IDENTITY.md").write_text("Ada's")

    assert await entries(host) == {"memory": "folder", "IDENTITY.md": "file"}
    read = await host.client.get(CONTENT, params={"path": "memory/today.md"})
    assert read.text == "It rained."
    written = await host.client.put(CONTENT, params={"path": "memory/a ß.bin"}, content=b"\x00\xff")
    assert written.status_code == 204, written.text
    again = await host.client.put(CONTENT, params={"path": "IDENTITY.md"}, content=b"new")
    assert again.status_code == 204

    assert (workspace / "memory" / "a ß.bin").read_bytes() == b"\x00\xff"
    assert (workspace / "IDENTITY.md").read_text() == "new"
    assert await entries(host) == {"memory": "folder", "IDENTITY.md": "file"}
    assert (agent.state, agent.activities, dict(host.runtime.calls)) == before


async def test_a_workspace_that_is_not_made_yet_is_empty(host: Host) -> None:
    assert await entries(host) == {}
    answer = await host.client.get(CONTENT, params={"path": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "no-such-file")


async def test_a_file_that_cannot_be_written_is_not_said_to_be_gone(
    host: Host, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, "Permission denied", "/a/name/of/the/host")

    monkeypatch.setattr("ocmt_agent.files.workspace.os.rename", refused)
    answer = await host.client.put(CONTENT, params={"path": "x"}, content=b"mine")
    assert (answer.status_code, answer.json()["code"]) == (409, "file-unusable")
    assert "(Permission denied)" in answer.json()["detail"]
    assert "host" not in answer.json()["detail"]
    assert await entries(host) == {}


def link_file(workspace: Path, outside: Path) -> str:
    (workspace / "x").symlink_to(outside / "secret")
    return "x"


def link_folder(workspace: Path, outside: Path) -> str:
    (workspace / "x").symlink_to(outside)
    return "x/secret"


def link_to_a_link(workspace: Path, outside: Path) -> str:
    (workspace / "y").symlink_to(outside)
    (workspace / "x").symlink_to("y")
    return "x/secret"


def linked_workspace(workspace: Path, outside: Path) -> str:
    workspace.rmdir()
    workspace.symlink_to(outside)
    return "secret"


@pytest.mark.parametrize("trap", [link_file, link_folder, link_to_a_link, linked_workspace])
async def test_no_link_is_followed(
    host: Host, workspace: Path, tmp_path: Path, trap: Callable[[Path, Path], str]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of another")
    path = trap(workspace, outside)

    read = await host.client.get(CONTENT, params={"path": path})
    written = await host.client.put(CONTENT, params={"path": path}, content=b"mine")
    listed = await host.client.get(FILES, params={"path": path.partition("/")[0]})

    assert read.status_code == 404
    assert written.status_code in (404, 409)
    assert listed.status_code == 404
    assert "of another" not in read.text + listed.text
    assert (outside / "secret").read_text() == "of another"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [fifo, unix_socket, folder])
async def test_what_is_no_plain_file_is_neither_read_nor_replaced(
    host: Host, workspace: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)  # a socket's path is short
    make(Path("x"))
    answers = [
        await host.client.get(CONTENT, params={"path": "x"}),
        await host.client.put(CONTENT, params={"path": "x"}, content=b"mine"),
    ]
    assert {answer.status_code for answer in answers} <= {404, 409}
    assert list(await entries(host)) == ["x"]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"\x1b[31mred"])
async def test_a_name_that_cannot_be_sent_is_listed_and_opens_nothing(
    host: Host, workspace: Path, name: bytes
) -> None:
    (workspace / os.fsdecode(name)).write_bytes(b"x")
    [(shown, kind)] = (await entries(host)).items()
    assert kind == "other"
    assert all(c.isprintable() for c in shown)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a\x00b", "x" * 5000, ".."])
async def test_a_path_out_of_the_workspace_is_refused(
    host: Host, workspace: Path, path: str
) -> None:
    for answer in (
        await host.client.get(FILES, params={"path": path}),
        await host.client.get(CONTENT, params={"path": path}),
        await host.client.put(CONTENT, params={"path": path}, content=b"x"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "path-invalid")


async def test_a_huge_folder_a_huge_file_and_a_huge_upload_are_bounded(
    host: Host, workspace: Path
) -> None:
    for number in range(2001):
        (workspace / f"f{number}").touch()
    listed = (await host.client.get(FILES)).json()
    assert (len(listed["entries"]), listed["more"]) == (2000, True)

    with (workspace / "f0").open("wb") as sparse:
        sparse.truncate(2**41)
    answer = await host.client.get(CONTENT, params={"path": "f0"})
    assert (answer.status_code, answer.json()["code"]) == (413, "file-too-large")

    body = b"x" * (MOST_UPLOAD_BYTES + 1)
    answer = await host.client.put(CONTENT, params={"path": "f1"}, content=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert (workspace / "f1").stat().st_size == 0


async def test_a_file_that_shrinks_or_grows_while_it_is_read_ends(
    host: Host, workspace: Path
) -> None:
    (workspace / "log").write_bytes(b"x" * 1_000_000)
    pieces: list[int] = []
    async with host.client.stream("GET", CONTENT, params={"path": "log"}) as answer:
        with (workspace / "log").open("ab") as file:
            file.write(b"y" * 1_000_000)
        pieces += [len(piece) async for piece in answer.aiter_bytes()]
    assert sum(pieces) == 1_000_000


async def test_an_agent_over_its_disk_limit_takes_no_upload(host: Host, workspace: Path) -> None:
    agent = host.parts.registry.get("ada")
    agent.disk = Standing(None, DiskLimit.of_mb(10), Fullness.OVER)
    answer = await host.client.put(CONTENT, params={"path": "x"}, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (507, "agent-disk-full")
    assert await entries(host) == {}


@pytest.mark.needs("root")
async def test_an_uploaded_file_belongs_to_the_agent(host: Host, workspace: Path) -> None:
    os.chown(workspace, 20_001, 20_001)
    await host.client.put(CONTENT, params={"path": "x"}, content=b"x")
    seen = (workspace / "x").stat()
    assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o777) == (20_001, 20_001, 0o600)
