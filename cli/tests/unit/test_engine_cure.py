"""The advice for a Docker Engine that does not answer."""

import os
from pathlib import Path

import pytest
from ocmt_cli.engine import Engine


def cure_for(address: str) -> str:
    engine = Engine(address)
    try:
        return engine.cure()
    finally:
        engine.close()


def test_without_an_engine_it_is_to_be_installed(tmp_path: Path) -> None:
    assert "apt-get install docker.io" in cure_for(f"unix://{tmp_path}/none.sock")


def test_a_socket_that_this_user_may_not_use_is_no_missing_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker.sock").touch()
    # Root, as which these tests may run, is let in everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = cure_for(f"unix://{tmp_path}/docker.sock")
    assert "This user may not use" in said
    assert "install" not in said
