"""A backup's manifest, of this format and the one before."""

import json
from pathlib import Path

import pytest
from ocmt_cli.backup.manifest import (
    LeftOut,
    Manifest,
    Part,
    digest,
    read_manifest,
    write_manifest,
)
from ocmt_cli.failure import CommandFailed


@pytest.fixture
def part(tmp_path: Path) -> Part:
    file = tmp_path / "data" / "u1.tar.gz"
    file.parent.mkdir()
    file.write_bytes(b"archive")
    return Part("data/u1.tar.gz", "files", "one", "agent", "/data/agents", digest(file), 7)


def test_what_is_left_out_is_read_as_it_was_written(tmp_path: Path, part: Part) -> None:
    left_out = (LeftOut("one", "u2", "", "too large"), LeftOut("one", "u1", "state/x", "too deep"))
    manifest = Manifest("2026-11-29T12:00:00+00:00", (part,), left_out)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert [str(one) for one in left_out] == ["one: u2: too large", "one: u1: state/x: too deep"]


def test_format_1_is_read_and_lacks_nothing(tmp_path: Path, part: Part) -> None:
    write_manifest(tmp_path, Manifest("2026-11-29T12:00:00+00:00", (part,)))
    said = json.loads((tmp_path / "manifest.json").read_text())
    del said["left_out"]
    (tmp_path / "manifest.json").write_text(json.dumps(said | {"format": 1}))
    assert read_manifest(tmp_path).parts == (part,)
    assert read_manifest(tmp_path).left_out == ()


@pytest.mark.parametrize(
    "change",
    [
        {"role": "root"},
        {"kind": "program"},
        {"size": "7"},
        {"place": None},
        {"host": 3},
        {"more": 1},
    ],
)
def test_an_edited_entry_is_refused(tmp_path: Path, part: Part, change: dict[str, object]) -> None:
    write_manifest(tmp_path, Manifest("2026-11-29T12:00:00+00:00", (part,)))
    said = json.loads((tmp_path / "manifest.json").read_text())
    said["parts"][0] |= change
    (tmp_path / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(CommandFailed, match=r"manifest.json is missing or damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("change", [{"format": 3}, {"left_out": [{"host": "one"}]}, {"parts": 7}])
def test_another_format_is_refused(tmp_path: Path, part: Part, change: dict[str, object]) -> None:
    write_manifest(tmp_path, Manifest("2026-11-29T12:00:00+00:00", (part,)))
    said = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(said | change))
    with pytest.raises(CommandFailed):
        read_manifest(tmp_path)
