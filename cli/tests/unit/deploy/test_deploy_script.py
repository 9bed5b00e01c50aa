"""`scripts/deploy.sh`, the specification's words for `ocmt deploy`."""

import shutil
import subprocess
from pathlib import Path

import pytest
from ocmt_cli.checkout import ROOT


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script in a checkout whose `ocmt` prints its arguments."""
    made = tmp_path / "scripts" / "deploy.sh"
    made.parent.mkdir()
    shutil.copy(ROOT / "scripts" / "deploy.sh", made)
    ocmt = tmp_path / "ocmt"
    ocmt.write_text('#!/bin/sh\necho "$@"\n')
    ocmt.chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ((), "deploy all"),
        (("--plan",), "deploy all --plan"),
        (("--host", "one", "--plan"), "deploy all --host one --plan"),
        (("agent", "--plan"), "deploy agent --plan"),
        (("management",), "deploy mgmt"),
        (("user-ui", "--force"), "deploy ui --force"),
    ],
)
def test_the_component_may_be_left_out(script: Path, words: tuple[str, ...], runs: str) -> None:
    done = subprocess.run([script, *words], capture_output=True, text=True, check=True)
    assert done.stdout == f"{runs}\n"


def test_another_component_is_refused(script: Path) -> None:
    done = subprocess.run([script, "page"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "[all|mgmt|ui|agent]" in done.stderr
