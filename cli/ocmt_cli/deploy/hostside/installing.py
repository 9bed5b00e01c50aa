"""Completes a release from the files sent: checks their hashes and installs without a network."""

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from ocmt_common.atomic_files import replace_file

from ocmt_cli.deploy.hostside.component import Component, StepFailed


def install(component: Component, release: str) -> None:
    """Check and complete a release. Idempotent. Raises `StepFailed`."""
    folder = component.release(release)
    if component.is_complete(release):
        return
    _check_files(folder)
    if component.role == "ui":
        _keep_old_assets(component, folder)
    else:
        _make_venv(component, folder)
    (folder / ".complete").touch()


def _check_files(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, digest in manifest.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError:
            found = ""
        if found != digest:
            raise StepFailed(f"{name} differs from the build. Deploy again.")


def _keep_old_assets(component: Component, folder: Path) -> None:
    """Link the current release's assets into the new one, since open pages still request them."""
    current = component.current
    if current is None or not (component.release(current) / "assets").is_dir():
        return
    names = json.loads((component.release(current) / "manifest.json").read_text(encoding="utf-8"))
    for name in names:
        if name.startswith("assets/") and not (folder / name).exists():
            os.link(component.release(current) / name, folder / name)


def _make_venv(component: Component, folder: Path) -> None:
    wheels = component.path / "wheels"
    uv = _uv(wheels, component.path / "tools")
    own = [
        f"{wheel.name.partition('-')[0].replace('_', '-')} @ file://{wheel}"
        f" --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
        for wheel in sorted((folder / "own").glob("*.whl"))
    ]
    wanted = folder / "requirements.all"
    wanted.write_text((folder / "requirements.lock").read_text() + "".join(own), encoding="utf-8")
    venv = folder / "venv"
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/root"),
        "UV_CACHE_DIR": str(component.path / "cache"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    shutil.rmtree(venv, ignore_errors=True)
    sync = [
        "pip", "sync", "--quiet", "--offline", "--no-index",
        "--find-links", str(wheels), "--require-hashes",
        "--python", str(venv / "bin" / "python"), str(wanted),
    ]  # fmt: skip

    def run(*words: str) -> None:
        done = subprocess.run(
            [str(uv), *words], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode != 0:
            raise StepFailed(f"uv {words[0]} failed:\n  {done.stderr.strip()}")

    run("venv", "--quiet", "--python", "python3", str(venv))
    run(*sync)
    if component.current is not None:
        link_bytecode(component.release(component.current) / "venv", venv)
    run(*sync, "--compile-bytecode")  # what was not linked; all is installed


def link_bytecode(before: Path, venv: Path) -> None:
    """Link the bytecode of each module that is the same file (inode) in the venv `before`.

    uv hard-links the files that it installs from its cache, so these are all unchanged modules.
    Python replaces bytecode files and never writes into them, so later changes are not shared.
    """
    for old in before.glob("lib/python*/site-packages/**/__pycache__/*.pyc"):
        new = venv / old.relative_to(before)
        module = f"{old.name.partition('.')[0]}.py"
        try:
            if (old.parent.parent / module).samefile(new.parent.parent / module):
                new.parent.mkdir(exist_ok=True)
                os.link(old, new)
        except OSError:  # no such module any more; what has no bytecode is compiled
            continue


def _uv(wheels: Path, tools: Path) -> Path:
    """Unpack uv's program from its wheel, and return its path."""
    found = sorted(wheels.glob("uv-*.whl"))
    if not found:
        raise StepFailed("uv's wheel is missing. Deploy again.")
    program = tools / found[-1].stem / "uv"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(found[-1]) as wheel:
            name = next(one for one in wheel.namelist() if one.endswith("/scripts/uv"))
            replace_file(program, wheel.read(name), mode=0o755)
    return program
