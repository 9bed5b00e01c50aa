"""Builds the page, unless its sources have not changed since the last build.

A lock on the page's folder ensures that only one process builds in a checkout at a time.
"""

import hashlib
import os
import shutil
from pathlib import Path

from ocmt_common.file_lock import lock

from ocmt_cli.checkout import ROOT
from ocmt_cli.failure import CommandFailed
from ocmt_cli.node import npm_program, run_node

_UI = ROOT / "user-ui"
_NOT_SOURCES = frozenset({"node_modules", "dist", "dist.new", "dist.old", "tests"})
# Digests of the sources, stored inside the result, so that they are removed with it.
_MODULES_STAMP = Path("node_modules/.ocmt-lock-sha256")
_BUILD_STAMP = Path("dist/.ocmt-sources-sha256")


def page_folder() -> Path:
    return _UI / "dist"


def page_is_current(ui: Path = _UI) -> bool:
    return _read(ui / _BUILD_STAMP) == _sources_digest(ui)


def install_page_tools(ui: Path = _UI) -> None:
    """Run `npm ci` unless node_modules matches the lock file. Raises `CommandFailed`."""
    wanted = hashlib.sha256((ui / "package-lock.json").read_bytes()).hexdigest()
    with lock(ui):
        if _read(ui / _MODULES_STAMP) == wanted:
            return
        _require_writable(ui)
        words = (npm_program(), "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        run_node(words, folder=ui, doing="Installing the page's build tools")
        (ui / _MODULES_STAMP).write_text(wanted, encoding="ascii")


def build_page(ui: Path = _UI) -> None:
    """Bring `dist` up to date. It is replaced by renames, since a server may be serving it.

    Raises `CommandFailed`.
    """
    install_page_tools(ui)
    with lock(ui):
        digest = _sources_digest(ui)
        if _read(ui / _BUILD_STAMP) == digest:
            return
        _require_writable(ui)
        fresh, old = ui / "dist.new", ui / "dist.old"
        vite = ui / "node_modules" / "vite" / "bin" / "vite.js"
        run_node(
            (vite, "build", "--outDir", fresh, "--emptyOutDir"),
            folder=ui,
            doing="Building the page",
        )
        (fresh / _BUILD_STAMP.name).write_text(digest, encoding="ascii")
        shutil.rmtree(old, ignore_errors=True)
        if (ui / "dist").exists():
            (ui / "dist").replace(old)
        fresh.replace(ui / "dist")
        shutil.rmtree(old, ignore_errors=True)


def _sources_digest(ui: Path) -> str:
    read = hashlib.sha256()
    for folder, names, files in os.walk(ui):
        names[:] = sorted(set(names) - _NOT_SOURCES)
        for name in sorted(files):
            path = Path(folder) / name
            read.update(f"{path.relative_to(ui)}\0".encode())
            read.update(hashlib.sha256(path.read_bytes()).digest())
    return read.hexdigest()


def _require_writable(ui: Path) -> None:
    if not os.access(ui, os.W_OK):
        raise CommandFailed(
            f"The page has to be built, and this user may not write to {ui}. Run this as the "
            f"checkout's owner ({_owner(ui)}), or clone a checkout of your own."
        )


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""
