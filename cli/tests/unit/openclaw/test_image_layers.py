"""Layers and archives of the image, from a small tree."""

import json
import tarfile
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.main import main
from ocmt_cli.openclaw import image
from ocmt_cli.openclaw.image import make_base, make_openclaw, write_archive
from ocmt_cli.openclaw.preload import compile_preload
from ocmt_common.container_names import HOLDS_LABEL


@pytest.fixture
def openclaw_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "data" / "node_modules" / "openclaw" / "openclaw.mjs"
    program.parent.mkdir(parents=True)
    program.write_text("")
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\n")
    node.chmod(0o755)
    monkeypatch.setattr(image, "node_binary", lambda: node)
    library = tmp_path / "ocmt-preload.so"
    library.write_text("")
    monkeypatch.setattr(image, "compile_preload", lambda folder: library)
    return tmp_path / "data"


def test_a_layer_belongs_to_root_and_only_the_home_to_the_agent(
    openclaw_dir: Path, tmp_path: Path
) -> None:
    with tarfile.open(make_openclaw(tmp_path, openclaw_dir).path) as tar:
        owners = {entry.name: entry.uid for entry in tar}
    assert {name for name, uid in owners.items() if uid == 1000} == {
        "home/node",
        "home/node/.openclaw",
    }
    assert set(owners.values()) == {0, 1000}
    assert {"usr/local/bin/node", "usr/local/bin/npm"} <= owners.keys()


def test_equal_content_makes_an_equal_layer(openclaw_dir: Path, tmp_path: Path) -> None:
    first = make_openclaw(tmp_path, openclaw_dir).diff_id
    program = openclaw_dir / "node_modules" / "openclaw" / "openclaw.mjs"
    program.touch()
    assert make_openclaw(tmp_path, openclaw_dir).diff_id == first
    program.write_text("changed")
    assert make_openclaw(tmp_path, openclaw_dir).diff_id != first


def content_of(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_an_archive_names_its_layers_and_their_sources(openclaw_dir: Path, tmp_path: Path) -> None:
    layer = make_openclaw(tmp_path, openclaw_dir)
    archive = tmp_path / "image.tar"
    write_archive(archive, [layer], name="some/image:1")

    with tarfile.open(archive) as tar:
        manifest = json.loads(content_of(tar, "manifest.json"))
        config = json.loads(content_of(tar, manifest[0]["Config"]))
    assert manifest[0]["RepoTags"] == ["some/image:1"]
    assert manifest[0]["Layers"] == [layer.path.name]
    assert config["rootfs"]["diff_ids"] == [layer.diff_id]
    assert config["config"]["User"] == "node"
    assert HOLDS_LABEL in config["config"]["Labels"]


def test_without_mmdebstrap_the_package_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandFailed, match="apt-get install mmdebstrap"):
        make_base(tmp_path)


def test_without_a_compiler_the_package_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandFailed, match="apt-get install gcc"):
        compile_preload(tmp_path)


@pytest.mark.parametrize("wrong", ["latest", "2026.9.6", "sha256:12", "sha256:" + "G" * 64])
def test_an_image_is_pulled_by_a_digest_and_by_nothing_else(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", "pull", "--digest", wrong]) == 1
    assert "is not a digest" in capsys.readouterr().err
