"""The agents' image with the real engine: built from npm, and pulled from a registry by digest."""

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.engine import Engine
from ocmt_cli.failure import CommandFailed
from ocmt_cli.openclaw import commands, engine_images
from ocmt_cli.openclaw.commands import build_image
from ocmt_cli.openclaw.image import CONTENT_LABEL, Layer, content_hash, write_archive
from ocmt_common.openclaw import default_image, openclaw_version

NAME = "ocmt-test/pulled:1"
LIMIT_S = 120


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    pulled = engine_images.id_of(engine, NAME)
    if pulled is not None:
        engine.request("DELETE", f"/images/{pulled}", params={"force": "true"})
    engine.close()


@pytest.fixture(scope="module")
def image() -> str:
    build_image(DEFAULT_DATA / "openclaw")
    return default_image()


@contextmanager
def running(engine: Engine, image: str, command: list[str]) -> Iterator[str]:
    """The API path of a container that runs this, as restricted as an agent's, without a
    network."""
    host = {"ReadonlyRootfs": True, "CapDrop": ["ALL"], "NetworkMode": "none", "Init": True}
    settings = {"Image": image, "Cmd": command, "Tty": True, "HostConfig": host}
    made = engine.request("POST", "/containers/create", json=settings)
    container = f"/containers/{made.json()['Id']}"
    try:
        engine.request("POST", f"{container}/start").raise_for_status()
        yield container
    finally:
        engine.request("DELETE", container, params={"force": "true"})


def said_in(engine: Engine, container: str) -> str:
    return engine.request("GET", f"{container}/logs", params={"stdout": "true"}).text.strip()


def said_by(engine: Engine, image: str, command: list[str]) -> str:
    """The output of a command in such a container."""
    with running(engine, image, command) as container:
        engine.request("POST", f"{container}/wait").raise_for_status()
        return said_in(engine, container)


def test_the_image_holds_the_pinned_openclaw_for_a_user_without_rights(
    engine: Engine, image: str
) -> None:
    shown = engine.request("GET", f"/images/{image}/json").json()
    assert shown["Config"]["User"] == "node"
    assert shown["Config"]["Labels"][CONTENT_LABEL] == content_hash()
    assert shown["Config"]["Labels"]["org.opencontainers.image.version"] == openclaw_version()
    assert shown["Size"] < 1_000_000_000

    assert said_by(engine, image, ["id", "-u"]) == "1000"
    assert openclaw_version() in said_by(engine, image, ["openclaw", "--version"])
    assert said_by(engine, image, ["node", "-p", "process.version"]).startswith("v24.")
    programs = ["git", "curl", "ssh", "rg", "ps"]
    found = said_by(engine, image, ["which", *programs]).split()
    assert [Path(path).name for path in found] == programs
    assert "PRIVATE KEY" not in said_by(engine, image, ["sh", "-c", "cat /etc/ssh/* 2>/dev/null"])


# Some 200 MB of heap; what the page tables for it take, and whether a child would inherit it all.
ALLOCATING = """
const held = []; for (let i = 0; i < 2e6; i++) held.push({ i });
const status = require("fs").readFileSync("/proc/self/status", "utf8");
const pageTables = status.match(/VmPTE:\\s+(\\d+)/)[1];
const env = require("child_process").execFileSync("env", { encoding: "utf8" });
`${pageTables} ${env.includes("LD_PRELOAD")}`
"""


def test_a_gateways_heap_is_contiguous_and_its_children_are_unaffected(
    engine: Engine, image: str
) -> None:
    compact, inherited = said_by(engine, image, ["node", "-p", ALLOCATING]).split()
    assert inherited == "false"
    # Started by another program in the container, nothing is preloaded: V8's own behaviour.
    strewn, _ = said_by(engine, image, ["sh", "-c", 'node -p "$0"', ALLOCATING]).split()
    assert 0 < int(compact) < int(strewn) / 3


# Due after three seconds; and how far the clocks went until it fires.
WAITING = """
const clocks = () => [performance.now(), Date.now()], [ran, began] = clocks();
setTimeout(() => {
  const [runs, ends] = clocks();
  console.log(`${runs - ran} ${ends - began}`);
}, 3_000);
console.log("begun");
"""


def test_a_timer_stands_still_while_its_container_is_frozen_and_clocks_do_not(
    engine: Engine, image: str
) -> None:
    with running(engine, image, ["node", "-e", WAITING]) as container:
        deadline = time.monotonic() + LIMIT_S
        while said_in(engine, container) != "begun":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        freezes = time.monotonic()
        engine.request("POST", f"{container}/pause").raise_for_status()
        frozen = time.monotonic()
        time.sleep(4)
        thaws = time.monotonic()
        engine.request("POST", f"{container}/unpause").raise_for_status()
        thawed = time.monotonic()
        engine.request("POST", f"{container}/wait").raise_for_status()
        said = said_in(engine, container)

    # Its beat tells that it is frozen. At the thaw it would have been due for a second.
    for passed_ms in said.split()[1:]:
        passed_s = float(passed_ms) / 1000
        assert 3 + (thaws - frozen) - 1 < passed_s < 3 + (thawed - freezes) + 10


def test_an_image_with_the_same_content_is_not_built_again(
    image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "make_base", lambda _: pytest.fail("made again"))
    build_image(tmp_path)
    assert capsys.readouterr().out == f"{image} is up to date.\n"


def load_tiny(engine: Engine, folder: Path, text: str) -> str:
    """Load an image with one small file under `NAME`; returns its id."""
    layer = folder / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        (folder / "file").write_text(text)
        tar.add(folder / "file", "file")
    diff_id = f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}"
    write_archive(folder / "image.tar", [Layer(layer, diff_id)], name=NAME)
    engine_images.load(engine, folder / "image.tar")
    image = engine_images.id_of(engine, NAME)
    assert image is not None
    return image


def test_an_image_that_was_replaced_goes_with_its_last_container(
    engine: Engine, tmp_path: Path
) -> None:
    old = load_tiny(engine, tmp_path, "old")
    made = engine.request("POST", "/containers/create", json={"Image": NAME, "Cmd": ["x"]})
    new = load_tiny(engine, tmp_path, "new")
    assert new != old

    engine_images.remove_unused(engine, old)
    assert engine.has_image(old)
    engine.request("DELETE", f"/containers/{made.json()['Id']}")
    engine_images.remove_unused(engine, old)
    assert not engine.has_image(old)
    assert engine_images.id_of(engine, NAME) == new


class Registry:
    """Serve one image on loopback by the OCI distribution API; the engine verifies each digest."""

    def __init__(self) -> None:
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("hello"))
        diff_id = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
        config = {
            "architecture": "amd64",
            "os": "linux",
            # No two alike: the engine remembers what it pulled, and would not ask again.
            "config": {"Labels": {"from": "upstream", "made": uuid4().hex}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        self.served: dict[str, bytes] = {}
        docker = "application/vnd.docker"
        self.type = f"{docker}.distribution.manifest.v2+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": self.type,
            "config": self._blob(json.dumps(config).encode(), f"{docker}.container.image.v1+json"),
            "layers": [
                self._blob(gzip.compress(layer.getvalue()), f"{docker}.image.rootfs.diff.tar.gzip")
            ],
        }
        self.digest: str = self._blob(json.dumps(manifest).encode(), self.type)["digest"]

    def _blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.served[digest] = content
        return {"mediaType": media_type, "size": len(content), "digest": digest}

    @contextmanager
    def listening(self) -> Iterator[str]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                digest = self.path.rpartition("/")[2]
                found = b"{}" if self.path == "/v2/" else registry.served.get(digest)
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Type", registry.type)
                self.send_header("Content-Length", str(len(found or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(found or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_port}/openclaw/openclaw"
            finally:
                server.shutdown()
                thread.join()


def test_an_image_is_pulled_by_its_digest_and_given_the_name(engine: Engine) -> None:
    registry = Registry()
    with registry.listening() as repository:
        engine_images.pull(engine, repository, registry.digest, name=NAME)

    assert engine_images.label_of(engine, NAME, "from") == "upstream"
    shown = engine.request("GET", f"/images/{NAME}/json").json()
    assert shown["RepoDigests"] == [f"{repository}@{registry.digest}"]


def test_an_image_that_does_not_match_its_digest_is_refused(engine: Engine) -> None:
    registry = Registry()
    registry.served[registry.digest] = registry.served[registry.digest] + b" "
    with registry.listening() as repository, pytest.raises(CommandFailed, match="Pulling"):
        engine_images.pull(engine, repository, registry.digest, name=NAME)
    assert not engine.has_image(NAME)


def test_a_digest_that_the_registry_lacks_is_reported(engine: Engine) -> None:
    digest = "sha256:" + "0" * 64
    with Registry().listening() as repository, pytest.raises(CommandFailed, match=digest):
        engine_images.pull(engine, repository, digest, name=NAME)
