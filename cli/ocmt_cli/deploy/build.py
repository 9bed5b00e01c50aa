"""Builds a component once for all its hosts, with the wheels that it needs.

Builds are cached by a digest of their sources, so an unchanged component is not built again and all
hosts get the same bytes.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.source import Source
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.page import build_page

_PACKAGES: dict[Role, tuple[str, ...]] = {
    "mgmt": ("common", "management-server"),
    "agent": ("common", "agent-server"),
    "ui": (),
}
_LOCKS: dict[Role, str] = {"mgmt": "management.lock", "agent": "agent.lock"}


@dataclass(frozen=True, slots=True)
class Platform:
    """The Python version, machine and C library that a host's wheels must match."""

    python: tuple[int, int]
    machine: str
    libc: str

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Platform":
        major, minor = facts["python"]
        return cls((major, minor), facts["machine"], facts["libc"])

    @property
    def name(self) -> str:
        return f"cp{self.python[0]}{self.python[1]}-{self.machine}"


@dataclass(frozen=True, slots=True)
class Artefact:
    """A built component: the files for `releases/ID/`, and its wheels."""

    files: Path
    wheels: Path | None
    content: str


def build(source: Source, role: Role, platform: Platform, builds: Path) -> Artefact:
    """Build the component, or reuse its build in `builds`. Raises `CommandFailed`."""
    content = source.content(role)
    folder = builds / f"{role}-{content[:16]}"
    wheels = _wheelhouse(source, role, platform, builds) if role != "ui" else None
    if not is_whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
        builds.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=builds) as working:
            made = Path(working) / "made"
            made.mkdir()
            if role == "ui":
                _page(source, made)
            else:
                _wheels(source, role, Path(working) / "source", made)
            write_manifest(made)
            made.replace(folder)
    return Artefact(folder, wheels, content)


def _page(source: Source, made: Path) -> None:
    ui = source.checkout / "user-ui"
    build_page(ui)
    # A checkout's version.txt is empty; each deploy writes its release into its own.
    left_out = shutil.ignore_patterns(".ocmt*", "version.txt")
    shutil.copytree(ui / "dist", made, dirs_exist_ok=True, ignore=left_out)


def _wheels(source: Source, role: Role, folder: Path, made: Path) -> None:
    folder.mkdir()
    source.extract(role, folder)
    for package in _PACKAGES[role]:
        _run(
            [sys.executable, "-m", "uv", "build", "--quiet", "--wheel",
             "--out-dir", str(made / "own"), str(folder / package)],
            f"Building {package}",
        )  # fmt: skip
    (made / "own" / ".gitignore").unlink(missing_ok=True)
    shutil.copy(folder / "requirements" / _LOCKS[role], made / "requirements.lock")


def write_manifest(made: Path) -> None:
    digests = {
        str(file.relative_to(made)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(made.rglob("*"))
        if file.is_file()
    }
    (made / "manifest.json").write_text(json.dumps(digests, indent=0), encoding="utf-8")


def is_whole(folder: Path) -> bool:
    """Whether a cached build has the files of its manifest; hosts would refuse another one."""
    try:
        digests = dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            for name, digest in digests.items()
        )
    except (OSError, ValueError, TypeError):
        return False


def _wheelhouse(source: Source, role: Role, platform: Platform, builds: Path) -> Path:
    """The folder with the lock's and uv's wheels for `platform`; downloads and checks them once.

    Raises `CommandFailed`.
    """
    lock = source.checkout / "requirements" / _LOCKS[role]
    with_uv = lock.read_text(encoding="utf-8") + _pin_of_uv(source.checkout)
    key = hashlib.sha256(with_uv.encode()).hexdigest()[:16]
    folder = builds / f"wheels-{role}-{platform.name}-{key}"
    if folder.is_dir():
        return folder
    builds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=builds) as working:
        wanted = Path(working) / "wanted.txt"
        wanted.write_text(with_uv, encoding="utf-8")
        fetched = Path(working) / "wheels"
        _run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--require-hashes", "--no-deps", "--only-binary", ":all:",
             *_other_platform(platform), "--dest", str(fetched), "-r", str(wanted)],
            f"Fetching the packages of {lock.name}",
        )  # fmt: skip
        fetched.replace(folder)
    return folder


def _other_platform(platform: Platform) -> list[str]:
    """pip's options for wheels of another platform."""
    version = f"{platform.python[0]}.{platform.python[1]}"
    kinds = [f"manylinux_2_{minor}_{platform.machine}" for minor in (34, 28, 17)]
    kinds += [f"manylinux2014_{platform.machine}"]
    return [
        "--python-version", version, "--implementation", "cp",
        *(word for kind in kinds for word in ("--platform", kind)),
    ]  # fmt: skip


def _pin_of_uv(checkout: Path) -> str:
    lines = (checkout / "requirements" / "cli.lock").read_text(encoding="utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("uv=="))
    end = next(
        (index for index in range(start + 1, len(lines)) if lines[index][:1].strip()), len(lines)
    )
    return "\n".join(lines[start:end]) + "\n"


def _run(words: list[str], doing: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n  ".join(done.stderr.strip().splitlines()[-8:])
        raise CommandFailed(f"{doing} failed:\n  {last}")
