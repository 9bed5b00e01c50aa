"""The configuration on disk: changed in place, whatever lies there."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ocmt_agent.runtime.gateway_config_file import change_config, write_config
from ocmt_agent.runtime.spec import gateway_config, relay_urls, with_tools_version

CONFIG = gateway_config(relay_urls("127.0.0.1", 1), user_id="ada", bind="lan", port=2)


def change(file: Path, version: int) -> None:
    change = partial(with_tools_version, version=version)
    change_config(file, change, mode=0o644, durable=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "openclaw.json"
    write_config(found, with_tools_version(CONFIG, 1), mode=0o644, durable=False)
    return found


@pytest.mark.parametrize(
    "earlier",
    [
        CONFIG,
        with_tools_version(CONFIG, 3),
        CONFIG | {"mcp": {"servers": {"ocmt": {"url": "http://127.0.0.1:1/mcp"}}}},
    ],
    ids=["without a version", "with one", "of an earlier release"],
)
def test_only_the_version_changes(file: Path, earlier: dict[str, Any]) -> None:
    write_config(file, earlier, mode=0o644, durable=False)
    change(file, 8)
    written = json.loads(file.read_text())
    assert written["mcp"]["servers"]["ocmt"]["url"].endswith("/mcp?catalog=8")
    assert written == with_tools_version(earlier, 8)
    assert file.stat().st_mode & 0o777 == 0o644


def test_an_unchanged_version_writes_nothing(file: Path) -> None:
    before = file.stat().st_ino
    change(file, 1)
    assert file.stat().st_ino == before
    change(file, 2)
    assert file.stat().st_ino != before


@pytest.mark.parametrize(
    "damaged",
    ["", "{{{", "[]", "null", '{"mcp": []}', '{"mcp": {"servers": {"ocmt": {}}}}', "[" * 100_000],
)
def test_a_damaged_file_is_left_for_the_next_start(file: Path, damaged: str) -> None:
    file.write_text(damaged)
    change(file, 5)
    assert file.read_text() == damaged
    write_config(file, with_tools_version(CONFIG, 5), mode=0o644, durable=False)
    assert json.loads(file.read_text()) == with_tools_version(CONFIG, 5)


def test_what_an_agent_put_in_its_place_is_not_opened(file: Path) -> None:
    file.unlink()
    outside = file.with_name("outside")
    outside.write_text(json.dumps(CONFIG))
    plants: list[Callable[[], None]] = [
        lambda: file.symlink_to(outside),
        lambda: os.mkfifo(file),
        file.mkdir,
        lambda: None,
    ]
    for plant in plants:
        plant()
        change(file, 5)
        assert json.loads(outside.read_text()) == CONFIG
        if file.is_dir():
            file.rmdir()
        file.unlink(missing_ok=True)
