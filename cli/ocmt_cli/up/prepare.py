"""Prepares what the servers need to start, with long steps in parallel."""

import shutil
from collections.abc import Callable
from pathlib import Path

from ocmt_common.console import say
from ocmt_common.openclaw import default_image, openclaw_version

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed, explained
from ocmt_cli.openclaw.install import install_openclaw, is_installed
from ocmt_cli.progress import run_together
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.page import build_page, page_is_current

# OpenClaw's npm tree exists twice while it is being replaced, and agents need space to start.
_OPENCLAW_NEEDS_BYTES = 2_000_000_000


def choose_runtime(wanted: str, *, data: Path) -> str:
    """`docker` or `process`; `auto` is Docker if its engine and image are ready.

    Raises `CommandFailed` if `docker` is wanted and no engine answers, or if one is too slow.
    """
    if wanted == "process":
        return wanted
    # Imported here: the HTTP client takes 0.2 s, which the process runtime does not need.
    from ocmt_cli.engine import Engine  # noqa: PLC0415

    engine = Engine()
    try:
        answers = engine.version() is not None
        if wanted == "docker":
            if not answers:
                raise CommandFailed(
                    f"No Docker Engine answers. {engine.cure()} "
                    f"Or run without it: {command('up --runtime process', data=data)}"
                )
            return wanted
        return "docker" if answers and engine.has_image(default_image()) else "process"
    finally:
        engine.close()


def prepare(data: DataFolder, *, runtime: str) -> None:
    """Build the page if it is missing or outdated, and OpenClaw or its image if it is missing.

    Raises `CommandFailed`.
    """
    steps: dict[str, Callable[[], None]] = {}
    if not page_is_current():
        steps["Building the page"] = build_page
    if runtime == "process" and not is_installed(data.openclaw):
        _require_room(data)
        name = f"Installing OpenClaw {openclaw_version()} (a minute or so)"
        steps[name] = lambda: install_openclaw(data.openclaw)
    with explained(data.root):
        run_together(steps)
        if runtime == "docker":
            _ensure_image(data)
    if runtime == "process":
        say(
            "Agents run as processes of this user, not in containers: suitable only for people who "
            "trust each other."
        )


def _ensure_image(data: DataFolder) -> None:
    from ocmt_cli.engine import Engine  # noqa: PLC0415
    from ocmt_cli.openclaw.commands import build_image  # noqa: PLC0415 (slow to import)

    engine = Engine()
    try:
        if engine.has_image(default_image()):
            return
    finally:
        engine.close()
    say(f"The image {default_image()} has not been built yet.")
    build_image(data.openclaw)


def _require_room(data: DataFolder) -> None:
    free = shutil.disk_usage(data.root).free
    if free < _OPENCLAW_NEEDS_BYTES:
        raise CommandFailed(
            f"{data.root} has {free / 1e9:.1f} GB free; OpenClaw needs "
            f"{_OPENCLAW_NEEDS_BYTES / 1e9:.0f} GB. Free some space, or keep the data on another "
            "disk with --data."
        )
