"""When the launcher installs anew, and when it may leave the environment as it is."""

import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
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
    """The files that the launcher looks at, and an environment as if just installed."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", copy / "requirements")
    shutil.copy2(ROOT / "ocmt", copy)
    for package in ("common", "agent-server", "management-server", "cli", "testing"):
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


def test_uv_is_taken_with_its_hashes_from_the_lock(checkout: Path) -> None:
    launcher = launcher_of(checkout)
    pinned = launcher.locked("uv", launcher.LOCKS["run"].read_text()).splitlines()
    assert pinned[0].startswith("uv==")
    assert len(pinned) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in pinned[1:])
