"""Installs the pinned OpenClaw from npm, atomically.

npm's install scripts are off, since the gateway needs none and they would run third-party code.
OpenClaw completes its installation when it first starts, which is done here, since the tree is
read-only later.
"""

import hashlib
import shutil
from pathlib import Path

from ocmt_common.file_lock import lock
from ocmt_common.openclaw import openclaw_version, pin_folder

from ocmt_cli.node import npm_program, run_node

_PIN_FILES = ("package.json", "package-lock.json")
_STAMP = ".ocmt-lock"


def lock_hash() -> str:
    """The hash of the manifest and its lock, which identifies the installed tree."""
    digest = hashlib.sha256()
    for name in _PIN_FILES:
        digest.update((pin_folder() / name).read_bytes())
    return digest.hexdigest()


def is_installed(target: Path) -> bool:
    """Whether `target` has the complete pinned OpenClaw, by the stamp that is written last."""
    try:
        return (target / _STAMP).read_text() == lock_hash()
    except OSError:
        return False


def install_openclaw(target: Path) -> None:
    """Install the pinned version as `target/node_modules/openclaw`, if it is not there yet.

    The new tree is built beside `target` and then replaces it, so that no gateway sees a partial
    tree. A concurrent call waits for the first. Takes about 700 MB and half a minute. Raises
    `CommandFailed`.
    """
    if is_installed(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with lock(target.with_name(f".{target.name}.lock")):
        if not is_installed(target):
            _install(target)


def _install(target: Path) -> None:
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for name in _PIN_FILES:
        shutil.copyfile(pin_folder() / name, draft / name)
    run_node(
        [npm_program(), "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"],
        folder=draft,
        doing=f"Installing OpenClaw {openclaw_version()} from npm",
    )
    run_node(
        [draft / "node_modules" / "openclaw" / "openclaw.mjs", "--version"],
        folder=draft,
        doing=f"Starting OpenClaw {openclaw_version()} for the first time",
    )
    (draft / _STAMP).write_text(lock_hash())
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    draft.rename(target)
    shutil.rmtree(old, ignore_errors=True)
