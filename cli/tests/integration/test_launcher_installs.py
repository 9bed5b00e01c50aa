"""The launcher on a copy of the checkout, with nothing installed yet."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = {
    "common": "ocmt_common",
    "agent-server": "ocmt_agent",
    "management-server": "ocmt_management",
    "cli": "ocmt_cli",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("launcher") / "checkout"
    shutil.copytree(ROOT / "requirements", copy / "requirements")
    shutil.copy2(ROOT / "ocmt", copy)
    for folder, package in PACKAGES.items():
        (copy / folder).mkdir()
        shutil.copy2(ROOT / folder / "pyproject.toml", copy / folder)
        shutil.copytree(ROOT / folder / package, copy / folder / package)
    return copy


def launch(program: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [program, "--help"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_killed_set_up_is_made_anew_once_however_many_start(
    checkout: Path, tmp_path: Path
) -> None:
    killed = launch(checkout / "ocmt", tmp_path)
    unfinished = checkout / ".venv" / "ocmt-unfinished"
    while not unfinished.exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (checkout / ".venv" / "ocmt-stamp").exists()

    elsewhere = tmp_path / "ocmt"
    elsewhere.symlink_to(checkout / "ocmt")
    both = [launch(elsewhere, tmp_path), launch(checkout / "ocmt", checkout)]
    said = [one.communicate(timeout=240) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert all(out.startswith("Usage: ocmt COMMAND") for out, _ in said)
    made = [err.count("making the virtual environment") for _, err in said]
    assert sorted(made) == [0, 1]
    assert not unfinished.exists()


def test_after_that_it_adds_next_to_nothing_to_the_command(checkout: Path) -> None:
    """Runs after the set-up above: the module's checkout is ready."""
    subprocess.run([checkout / "ocmt"], check=True, capture_output=True)
    # With a plain interpreter: `python3` may be a version manager's script, which is slow itself.
    direct = best_of_five([checkout / ".venv" / "bin" / "ocmt"])
    launched = best_of_five([Path(sys.executable), checkout / "ocmt"])
    assert launched - direct < 0.06


def best_of_five(command: list[Path]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def test_without_the_venv_module_it_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    """Debian's Python without python3-venv: `venv` can be imported, `ensurepip` is not there."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy2(checkout / "ocmt", bare)
    shutil.copytree(checkout / "requirements", bare / "requirements")
    for folder in PACKAGES:
        (bare / folder).mkdir()
        shutil.copy2(checkout / folder / "pyproject.toml", bare / folder)
    hide = (
        "import importlib.util, runpy, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'ensurepip' else found(name)\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    done = subprocess.run(
        ["python3", "-c", hide, bare / "ocmt"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert not (bare / ".venv").exists()
