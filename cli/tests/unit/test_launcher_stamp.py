"""When the launcher installs again, and when it keeps the environment."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


def launcher_of(checkout: Path) -> ModuleType:
    loader = SourceFileLoader("launcher", str(checkout / "ocmt"))
    spec = spec_from_loader("launcher", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the launcher checks, and an environment as if just installed."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", copy / "requirements")
    shutil.copy2(ROOT / "ocmt", copy)
    for package in ("common", "agent-server", "management-server", "upstream-sync", "cli",
                    "testing"):  # fmt: skip
        (copy / package).mkdir()
        shutil.copy2(ROOT / package / "pyproject.toml", copy / package)
    (copy / ".venv" / "bin").mkdir(parents=True)
    (copy / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    return copy


def stamped(checkout: Path, kind: str) -> ModuleType:
    launcher = launcher_of(checkout)
    launcher.STAMP.write_text(launcher.digest(kind))
    return launcher


def test_a_fresh_checkout_has_to_be_installed(checkout: Path) -> None:
    assert not launcher_of(checkout).satisfied("run")


def test_nothing_is_done_when_nothing_changed(checkout: Path) -> None:
    assert stamped(checkout, "run").satisfied("run")


def test_the_tests_need_more_than_running_does(checkout: Path) -> None:
    assert not stamped(checkout, "run").satisfied("dev")


def test_the_tests_environment_is_good_for_running(checkout: Path) -> None:
    assert stamped(checkout, "dev").satisfied("run")


@pytest.mark.parametrize("changed", ["requirements/run.lock", "agent-server/pyproject.toml"])
def test_a_changed_lock_or_package_is_installed_anew(checkout: Path, changed: str) -> None:
    launcher = stamped(checkout, "run")
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert not launcher.satisfied("run")


def test_a_moved_checkout_is_installed_anew(checkout: Path) -> None:
    stamped(checkout, "run")
    moved = checkout.rename(checkout.with_name("elsewhere"))
    assert not launcher_of(moved).satisfied("run")


def test_another_python_is_installed_anew(checkout: Path) -> None:
    launcher = stamped(checkout, "run")
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python-of-the-next-release")
    assert not launcher.satisfied("run")


def test_an_installation_killed_in_the_middle_does_not_count(checkout: Path) -> None:
    launcher = stamped(checkout, "run")
    launcher.UNFINISHED.touch()
    assert not launcher.satisfied("run")


def test_uv_is_installed_with_its_hashes_from_the_lock(checkout: Path) -> None:
    launcher = launcher_of(checkout)
    pinned = launcher.locked("uv", launcher.LOCKS["run"].read_text()).splitlines()
    assert pinned[0].startswith("uv==")
    assert len(pinned) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in pinned[1:])


@contextmanager
def serving(checkout: Path, module: str) -> Iterator[int]:
    """The id of a process like those that `ocmt up` starts from this checkout."""
    (checkout / f"{module}.py").write_text(
        "import sys\nprint('up', flush=True)\nsys.stdin.read()\n"
    )
    words = [str(checkout / ".venv" / "bin" / "python"), "-m", module]
    process = subprocess.Popen(
        words, executable="/usr/bin/python3", cwd=checkout, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    try:
        yield process.pid
    finally:
        process.communicate()


@pytest.fixture
def installs() -> list[str]:
    """What the launcher would install."""
    return []


def watched(checkout: Path, installs: list[str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    launcher = stamped(checkout, "run")
    monkeypatch.setattr(launcher, "install", installs.append)
    with (checkout / "requirements" / "run.lock").open("a") as file:
        file.write("# as a pull brings it\n")
    return launcher


@pytest.mark.parametrize("module", ["ocmt_agent", "ocmt_management"])
def test_the_environment_of_running_servers_stays_as_it_is(
    checkout: Path,
    installs: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
) -> None:
    launcher = watched(checkout, installs, monkeypatch)
    with serving(checkout, module) as pid:
        launcher.ready("run")
        told = capsys.readouterr().err
        assert f"process {pid}" in told
        assert "./ocmt down, then ./ocmt up" in told
        with pytest.raises(SystemExit, match=r"First: \./ocmt down"):
            launcher.ready("dev")
    assert installs == []
    launcher.ready("run")
    assert installs == ["run"]


def test_servers_of_another_checkout_do_not_matter(
    checkout: Path, installs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    launcher = watched(checkout, installs, monkeypatch)
    other = tmp_path / "another"
    (other / ".venv" / "bin").mkdir(parents=True)
    with serving(other, "ocmt_agent"):
        launcher.ready("run")
    assert installs == ["run"]


def test_an_incomplete_environment_is_made_whatever_runs(
    checkout: Path, installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = watched(checkout, installs, monkeypatch)
    launcher.UNFINISHED.touch()
    with serving(checkout, "ocmt_agent"):
        launcher.ready("run")
    assert installs == ["run"]


@pytest.mark.needs("root")
@pytest.mark.parametrize("shut", ["no .venv", "Python", "a lock file", "the command"])
def test_a_checkout_of_another_user_is_reported_in_a_sentence(checkout: Path, shut: str) -> None:
    """Run as `nobody` in root's checkout."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        copy = folder / "checkout"
        shutil.copytree(checkout, copy, symlinks=True)
        command = copy / ".venv" / "bin" / "ocmt"
        command.write_text("#!/bin/true\n")
        command.chmod(0o755)
        stamped(copy, "run")
        if shut == "no .venv":
            shutil.rmtree(copy / ".venv")
        elif shut == "a lock file":
            (copy / "requirements" / "run.lock").chmod(0o600)
        else:
            (command if shut == "the command" else copy / ".venv").chmod(0o700)
        done = subprocess.run(
            ["/usr/bin/python3", "-B", str(copy / "ocmt"), "status"],
            user="nobody", cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "this checkout belongs to root, and you are nobody" in last
    assert "clone a checkout of your own" in last
    assert "Traceback" not in done.stderr
