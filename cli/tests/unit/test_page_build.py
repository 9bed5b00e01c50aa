"""The page's build in a checkout to which this user may not write."""

import os
import shutil
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.page import build_page, install_page_tools

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("build", [build_page, install_page_tools])
def test_the_checkout_s_owner_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: object
) -> None:
    shutil.copy(ROOT / "user-ui" / "package-lock.json", tmp_path)
    # Root, as which these tests may run, writes everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert callable(build)
    with pytest.raises(CommandFailed, match=rf"owner \({tmp_path.owner()}\)"):
        build(tmp_path)
