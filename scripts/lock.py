"""Writes requirements/*.lock: hashed versions of what each package's pyproject.toml declares.

`.venv/bin/python scripts/lock.py` after changing a dependency; `--upgrade` raises all versions,
`--upgrade-package NAME` one. The tools of the checks and tests are the group `dev` of the
workspace's pyproject.toml. Other options go to `uv pip compile` as they are.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {
    "dev": ("testing",),
    "run": ("agent-server", "management-server", "cli"),
    "agent": ("agent-server",),
    "management": ("management-server",),
    "cli": ("cli",),
}
"""Lock → the packages that it is for, with those of ours that they need. `dev` comes first: the
others take its versions."""


def packages() -> dict[str, Path]:
    """Name → pyproject.toml of our own packages."""
    files = sorted(ROOT.glob("*/pyproject.toml"))
    return {_read(file)["project"]["name"]: file for file in files}


def requirements(lock: str) -> list[str]:
    """The declared requirements of `lock`, without our own packages."""
    own = packages()
    waiting = [ROOT / folder / "pyproject.toml" for folder in LOCKS[lock]]
    seen: set[Path] = set()
    needed: set[str] = set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for one in _read(file)["project"]["dependencies"]:
            if one in own:
                waiting.append(own[one])
            else:
                needed.add(one)
    if lock == "dev":
        needed.update(_read(ROOT / "pyproject.toml")["dependency-groups"]["dev"])
    return sorted(needed)


def name_of(requirement: str) -> str:
    """The name of a requirement's package, as spelled in locks."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def compile_lock(lock: str, options: list[str]) -> None:
    constraint = [] if lock == "dev" else ["--constraint", "dev.lock"]
    # Hashed, for every platform, without addresses and comments that differ between machines.
    subprocess.run(
        [
            sys.executable, "-m", "uv", "pip", "compile", "-", "--output-file", f"{lock}.lock",
            "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes",
            "--no-header", "--no-annotate", *constraint, *options,
        ],
        input="\n".join(requirements(lock)),
        cwd=ROOT / "requirements",
        text=True,
        check=True,
    )  # fmt: skip


def _read(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for name in LOCKS:
        compile_lock(name, sys.argv[1:] if name == "dev" else [])
