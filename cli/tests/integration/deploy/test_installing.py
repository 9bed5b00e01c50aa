"""Installing a release's environment from real wheels, with the real uv."""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.hostside.installing import install

FIRST, SECOND = (f"2026110{number}T000000Z-{number:012d}" for number in (1, 2))


def _wheel(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    info = f"{name}-1.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, *about, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as wheel:
        for file, text in {**files, **about, f"{info}/RECORD": record}.items():
            # One date for all, as builds that can be repeated have it.
            wheel.writestr(zipfile.ZipInfo(file, (1980, 1, 1, 0, 0, 0)), text)
    return made


@pytest.fixture
def component(tmp_path: Path) -> Component:
    """A release with uv and one library among its wheels."""
    made = Component("mgmt", tmp_path, "pidfile", {}, 1, 1, 1, 3)
    (tmp_path / "tools").mkdir()
    (tmp_path / "wheels").mkdir()
    version = metadata.version("uv")
    uv = tmp_path / "tools" / f"uv-{version}-py3-none-any" / "uv"
    uv.parent.mkdir()
    uv.symlink_to(Path(sys.executable).with_name("uv"))
    (tmp_path / "wheels" / f"uv-{version}-py3-none-any.whl").touch()
    _wheel(tmp_path / "wheels", "library", {"library/__init__.py": "", "library/deep.py": "X = 1"})
    return made


def _install(component: Component, name: str, own: Mapping[str, str]) -> Path:
    """Install a release of the library and a package of ours; returns its site-packages."""
    release = component.release(name)
    wheel = _wheel(release / "own", "ours", own)
    library = component.path / "wheels" / "library-1-py3-none-any.whl"
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    (release / "requirements.lock").write_text(f"library==1 --hash=sha256:{digest}\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (release / "manifest.json").write_text(json.dumps({f"own/{wheel.name}": digest}))
    install(component, name)
    (packages,) = (release / "venv" / "lib").glob("python*/site-packages")
    return packages


def _bytecode(packages: Path, module: str) -> Path:
    folder, _, name = module.rpartition("/")
    (found,) = (packages / folder / "__pycache__").glob(f"{name}.*.pyc")
    return found


def _run(component: Component, name: str, code: str) -> str:
    python = component.release(name) / "venv" / "bin" / "python"
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_what_did_not_change_is_not_compiled_again(component: Component) -> None:
    first = _install(component, "1", {"ours/__init__.py": "", "ours/a.py": "X = 1"})
    component.point("1")

    second = _install(component, "2", {"ours/__init__.py": "", "ours/a.py": "X = 2"})

    for module in ("library/__init__", "library/deep"):
        assert _bytecode(second, module).samefile(_bytecode(first, module))
    assert not _bytecode(second, "ours/a").samefile(_bytecode(first, "ours/a"))


@pytest.mark.parametrize("text", ["X = 2", "X = 1 + 1", "\nX = 2\n"])
def test_what_changed_is_run_as_it_is_now(component: Component, text: str) -> None:
    """Also if its size and date equal those of the release before."""
    _install(component, "1", {"ours/__init__.py": "", "ours/a.py": "X = 1"})
    component.point("1")

    second = _install(component, "2", {"ours/__init__.py": "", "ours/a.py": text})

    assert _bytecode(second, "ours/a").is_file()
    assert _run(component, "2", "import ours.a; print(ours.a.X)") == "2"
    assert _run(component, "1", "import ours.a; print(ours.a.X)") == "1"


def test_a_release_does_not_depend_on_the_one_before(component: Component) -> None:
    _install(component, FIRST, {"ours/__init__.py": "", "ours/a.py": "X = 1"})
    component.point(FIRST)
    (component.release(FIRST) / "venv" / "bin" / "python").unlink()

    second = _install(component, SECOND, {"ours/__init__.py": "", "ours/b.py": "X = 3"})
    component.point(SECOND)
    component.prune()

    assert component.releases() == [SECOND]
    assert _bytecode(second, "ours/b").is_file()
    assert not list(second.glob("ours/**/a.*"))
    assert _run(component, SECOND, "import library.deep, ours.b; print(ours.b.X)") == "3"
