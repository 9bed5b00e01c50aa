"""`ocmt upgrade check` with the real npm client against a registry of the test."""

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.upgrade.commands import compare

CHANGELOG = b"# Changelog\n\n## 2026.10.1\n\n- faster wake\n\n## 2026.9.6\n\n- old\n"


def package() -> bytes:
    out = io.BytesIO()
    manifest = json.dumps({"name": "openclaw", "version": "2026.10.1"}).encode()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in (("package.json", manifest), ("CHANGELOG.md", CHANGELOG)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    tarball = package()
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = tarball
            if not self.path.endswith(".tgz"):
                versions = {
                    v: {
                        "name": "openclaw",
                        "version": v,
                        "dist": {"tarball": f"{address}/openclaw-{v}.tgz", "integrity": integrity},
                    }
                    for v in ("2026.9.6", "2026.10.1", "2026.10.2-beta.1")
                }
                times = {v: f"2026-0{n + 1}-01T00:00:00.000Z" for n, v in enumerate(versions)}
                body = json.dumps(
                    {
                        "name": "openclaw",
                        "dist-tags": {"latest": "2026.10.1", "beta": "2026.10.2-beta.1"},
                        "versions": versions,
                        "time": {"created": "2026-01-01T00:00:00.000Z", **times},
                    }
                ).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("npm_config_registry", address)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("registry")
def test_a_newer_release_is_shown_with_what_changed_and_who_runs_what(tmp_path: Path) -> None:
    data = DataFolder(tmp_path / "data")
    for user in ("ann", "bob"):
        (data.root / "agent" / "agents" / user).mkdir(parents=True)
    installed = data.openclaw / "node_modules" / "openclaw"
    installed.mkdir(parents=True)
    (installed / "package.json").write_text('{"version": "2026.9.6"}')

    report = compare("2026.9.6", tag="latest", changes=True, data=data)

    assert (report["offered"], report["upToDate"]) == ("2026.10.1", False)
    assert [(r["version"], r["changes"]) for r in report["newer"]] == [
        ("2026.10.1", "- faster wake")
    ]
    assert report["agents"] == {"2026.9.6": 2}


@pytest.mark.usefixtures("registry")
def test_the_newest_pin_is_up_to_date_and_downloads_nothing(tmp_path: Path) -> None:
    report = compare("2026.10.1", tag="latest", changes=True, data=DataFolder(tmp_path))
    assert (report["upToDate"], report["newer"], report["agents"]) == (True, [], {})


def test_without_npm_the_reason_is_told(
    registry: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("npm_config_registry", registry.rsplit(":", 1)[0] + ":9")
    with pytest.raises(CommandFailed, match="Reading OpenClaw's versions from npm failed"):
        compare("2026.9.6", tag="latest", changes=False, data=DataFolder(tmp_path))


@pytest.mark.parametrize("pinned", ["2026.9.6", "2026.10.1", "2027.1.1"])
def test_what_npm_once_said_is_no_answer_without_a_network(
    registry: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pinned: str
) -> None:
    """npm answers from its cache then, without saying so."""
    compare(pinned, tag="latest", changes=False, data=DataFolder(tmp_path))
    # The same address, so that the cache could answer, with no registry behind it.
    monkeypatch.setenv("npm_config_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_noproxy", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(CommandFailed, match="the pin could not be compared") as failed:
        compare(pinned, tag="latest", changes=False, data=DataFolder(tmp_path))
    assert failed.value.exit_code == 8
