"""The launcher in a copy of the checkout in which nothing is installed yet."""

import os
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
    "upstream-sync": "ocmt_sync",
    "cli": "ocmt_cli",
    "testing": "ocmt_testing",
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


def test_a_killed_set_up_is_repeated_once_however_many_start(
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
    said = [one.communicate(timeout=600) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert all(out.startswith("Usage: ocmt COMMAND") for out, _ in said)
    made = [err.count("making the virtual environment") for _, err in said]
    assert sorted(made) == [0, 1]
    assert not unfinished.exists()


# Runs a program and tells what it starts, what it writes, and which files of its folder it reads.
TOLD = """
import os, runpy, sys
program = sys.argv[1]
def tell(event, given):
    if event == "open":
        path, _, flags = given
        path = os.fsdecode(path) if isinstance(path, (str, bytes)) else str(path)
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            print("write", path, file=sys.stderr)
        elif path.startswith(os.path.dirname(program) + "/"):
            print("read", path, file=sys.stderr)
    elif event in ("os.exec", "os.fork", "os.posix_spawn", "os.system", "subprocess.Popen"):
        print(event, os.fsdecode(given[0]) if given else "", file=sys.stderr)
    elif event in ("os.mkdir", "os.remove", "os.rename", "socket.connect"):
        print(event, given, file=sys.stderr)
sys.argv = [program, "--help"]
sys.addaudithook(tell)
runpy.run_path(program, run_name="__main__")
"""


def test_after_that_it_only_reads_a_few_files_and_becomes_the_command(checkout: Path) -> None:
    """Runs after the set-up above, when the module's checkout is ready."""
    # -B: what Python itself would write beside its modules is not the launcher's.
    done = subprocess.run(
        [sys.executable, "-B", "-c", TOLD, checkout / "ocmt"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("Usage: ocmt COMMAND")
    *read, last = done.stderr.splitlines()
    assert last == f"os.exec {checkout / '.venv' / 'bin' / 'ocmt'}"
    files = ["ocmt", ".venv/ocmt-stamp", "requirements/run.lock", "requirements/dev.lock"]
    files += [f"{folder}/pyproject.toml" for folder in PACKAGES]
    assert set(read) == {f"read {checkout / file}" for file in files}


# The environment's Python, in an installation that waits for a signal to continue.
WAITING_PYTHON = """#!/bin/sh
case "$*" in *--version) exit 0;; esac
echo begun > begun
read word < go
"""


def test_what_a_killed_set_up_started_is_waited_for(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy2(ROOT / "ocmt", tmp_path)
    for folder in PACKAGES:
        (tmp_path / folder).mkdir()
        shutil.copy2(ROOT / folder / "pyproject.toml", tmp_path / folder)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(WAITING_PYTHON)
    python.chmod(0o755)
    for fifo in ("begun", "go"):
        os.mkfifo(tmp_path / fifo)

    killed = launch(tmp_path / "ocmt", tmp_path)
    with (tmp_path / "begun").open() as begun:
        assert begun.read() == "begun\n"
    killed.kill()
    killed.wait()
    following = launch(tmp_path / "ocmt", tmp_path)
    try:
        assert following.stderr is not None
        assert following.stderr.readline() == "ocmt: waiting for another ocmt that is setting up\n"
    finally:
        for one in (following, killed):
            os.killpg(one.pid, signal.SIGKILL)
            one.communicate()


def test_without_the_venv_module_it_names_the_package_to_install(
    checkout: Path, tmp_path: Path
) -> None:
    """Debian's Python without python3-venv: `venv` can be imported, `ensurepip` is missing."""
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
