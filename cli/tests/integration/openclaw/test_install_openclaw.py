"""The installation by the real npm, of a small package that stands for OpenClaw."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.node import npm_program, run_node
from ocmt_cli.openclaw import install
from ocmt_cli.openclaw.install import install_openclaw, is_installed

# Records each start and, on request, waits for a reader.
_PROGRAM = """
import { appendFileSync, readFileSync } from "node:fs";
appendFileSync(process.env.OCMT_TEST_STARTS, "started\\n");
if (process.env.OCMT_TEST_HOLD) readFileSync(process.env.OCMT_TEST_HOLD);
"""


class Pin:
    """A test's pin, and the program that it installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pin"
        self.starts = folder / "starts"
        self._package = folder / "package"
        self.folder.mkdir()
        self._package.mkdir()

    def raise_to(self, version: str) -> None:
        scripts = {"postinstall": f"echo ran > {self.starts}.script"}
        manifest = {"name": "openclaw", "version": version, "scripts": scripts}
        (self._package / "package.json").write_text(json.dumps(manifest))
        (self._package / "openclaw.mjs").write_text(_PROGRAM)
        run_node([npm_program(), "pack", "--silent"], folder=self._package, doing="packing")
        archive = self._package / f"openclaw-{version}.tgz"
        pin = {"name": "pin", "private": True, "dependencies": {"openclaw": f"file:{archive}"}}
        (self.folder / "package.json").write_text(json.dumps(pin))
        arguments: list[str | Path] = [npm_program(), "install", "--package-lock-only", "--offline"]
        run_node(arguments, folder=self.folder, doing="locking")


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    pin = Pin(tmp_path)
    monkeypatch.setattr(install, "pin_folder", lambda: pin.folder)
    monkeypatch.setenv("OCMT_TEST_STARTS", str(pin.starts))
    pin.raise_to("1.0.0")
    return pin


def version_in(target: Path) -> str:
    manifest = target / "node_modules" / "openclaw" / "package.json"
    return str(json.loads(manifest.read_text())["version"])


def test_an_installation_is_made_once_and_anew_when_the_pin_is_raised(
    pin: Pin, tmp_path: Path
) -> None:
    target = tmp_path / "data" / "openclaw"
    assert not is_installed(target)
    install_openclaw(target)
    install_openclaw(target)
    assert is_installed(target)
    assert version_in(target) == "1.0.0"
    assert pin.starts.read_text() == "started\n"

    pin.raise_to("1.1.0")
    assert not is_installed(target)
    install_openclaw(target)
    assert version_in(target) == "1.1.0"
    assert {path.name for path in target.parent.iterdir()} == {"openclaw", ".openclaw.lock"}


def test_no_package_runs_code_while_it_is_installed(pin: Pin, tmp_path: Path) -> None:
    install_openclaw(tmp_path / "openclaw")
    assert not pin.starts.with_suffix(".script").exists()


def test_two_at_once_install_once(pin: Pin, tmp_path: Path) -> None:
    target = tmp_path / "openclaw"
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(install_openclaw, target) for _ in range(2)]:
            done.result()
    assert is_installed(target)
    assert pin.starts.read_text() == "started\n"


def test_a_killed_installation_is_none_and_the_old_one_stays_until_the_next_is_whole(
    pin: Pin, tmp_path: Path
) -> None:
    target = tmp_path / "openclaw"
    install_openclaw(target)
    pin.raise_to("1.1.0")
    hold = tmp_path / "hold"
    os.mkfifo(hold)
    program = (
        "import sys; from pathlib import Path; from ocmt_cli.openclaw import install;"
        "install.pin_folder = lambda: Path(sys.argv[1]);"
        "install.install_openclaw(Path(sys.argv[2]))"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", program, str(pin.folder), str(target)],
        env={**os.environ, "OCMT_TEST_HOLD": str(hold)},
        start_new_session=True,
    )
    with hold.open("w"):  # opens once it holds, at its last step
        os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()

    assert version_in(target) == "1.0.0"
    assert not is_installed(target)
    install_openclaw(target)
    assert is_installed(target)
    assert version_in(target) == "1.1.0"


def test_a_failed_installation_says_what_npm_said_and_leaves_the_old_one(
    pin: Pin, tmp_path: Path
) -> None:
    target = tmp_path / "openclaw"
    install_openclaw(target)
    (pin.folder / "package-lock.json").write_text("{}")

    with pytest.raises(CommandFailed, match="npm error"):
        install_openclaw(target)
    assert version_in(target) == "1.0.0"
