"""The program sent to a host contains all that it imports beyond Python's standard library."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ocmt_cli.deploy.host_connection import _PROGRAM
from ocmt_cli.deploy.program import packed

_IMPORT_ALL = """\
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("places", [_PROGRAM, ("setup/hostside",), ("backup/hostside",)])
def test_each_module_that_is_sent_can_be_imported_on_a_host_with_nothing_installed(
    places: tuple[str, ...], tmp_path: Path
) -> None:
    size, program = packed(*places).split(b"\n", 1)
    assert int(size) == len(program)
    sent = tmp_path / "sent.zip"
    sent.write_bytes(program)
    with zipfile.ZipFile(io.BytesIO(program)) as archive:
        files = [name for name in archive.namelist() if not name.endswith("__init__.py")]
    assert any(name.startswith(f"ocmt_cli/{places[0]}/") for name in files)
    modules = [name.removesuffix(".py").replace("/", ".") for name in files]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _IMPORT_ALL, str(sent), *modules],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
