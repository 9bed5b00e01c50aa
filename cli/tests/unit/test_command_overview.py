import subprocess
import sys
from importlib import import_module

import pytest
from ocmt_cli.main import COMMANDS, main
from typer import Typer


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said and entry.summary in said for name, entry in COMMANDS.items())


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from ocmt_cli.main import main; main([]); print(sorted(sys.modules))"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'ocmt_cli.main'" in said
    for heavy in ("typer", "rich", "httpx2", "pydantic"):
        assert f"'{heavy}'" not in said


def test_a_mistyped_command_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["stauts"]) == 2
    assert "ocmt status" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str) -> None:
    entry = COMMANDS[name]
    assert isinstance(getattr(import_module(entry.module), entry.attribute), Typer)


@pytest.mark.parametrize("package", ["ocmt_sync", "httpx2", "typer"])
def test_a_package_that_is_not_installed_yet_is_named(
    package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An updated checkout may need a package while running servers keep .venv unchanged."""

    def fail(_: str) -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr("ocmt_cli.main.import_module", fail)
    assert main(["sync", "status"]) == 1
    assert f"The package {package} is not installed." in capsys.readouterr().err


@pytest.mark.parametrize("module", ["ocmt_sync.gone", "ocmt_cli.gone", None])
def test_a_missing_module_of_ocmt_itself_is_a_crash(
    module: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise ModuleNotFoundError("No module", name=module)

    monkeypatch.setattr("ocmt_cli.main.import_module", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["sync", "status"])
