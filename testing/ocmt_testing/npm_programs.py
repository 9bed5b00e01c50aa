"""Programs from npm for tests, each pinned by a `package-lock.json` in a package of this one.

Raise one with `npm install --package-lock-only --omit-lockfile-registry-resolved NAME@VERSION` in
its folder.
"""

import hashlib
import shutil
from importlib import resources
from pathlib import Path

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.node import npm_program, run_node
from ocmt_common.file_lock import lock

_FILES = ("package.json", "package-lock.json")
_STAMP = ".ocmt-lock-sha256"


def installed(package: str, what: str) -> Path:
    """The folder with the `node_modules` that a package pins, made once in the data folder."""
    pin = Path(str(resources.files(package)))
    target = DEFAULT_DATA / package.rpartition(".")[2]
    wanted = hashlib.sha256((pin / "package-lock.json").read_bytes()).hexdigest()
    target.mkdir(parents=True, exist_ok=True)
    with lock(target):
        stamp = target / _STAMP
        if not stamp.exists() or stamp.read_text() != wanted:
            for name in _FILES:
                shutil.copyfile(pin / name, target / name)
            run_node(
                [npm_program(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                folder=target,
                doing=f"Installing {what}",
            )
            stamp.write_text(wanted)
    return target
