"""The servers' log lines, with their times, so that those of several hosts can be merged."""

import json
import subprocess
from typing import Any

from ocmt_cli.deploy.hostside.component import UNITS, Component

_MOST_BYTES = 4_000_000


def logs(component: Component, lines: int, request: str) -> list[dict[str, Any]]:
    """The newest `lines` lines as `{"at": ISO 8601, "text": …}`; of one request, if it is named."""
    raw = _journal(component, lines) if component.supervisor == "systemd" else _files(component)
    told = [_line(text) for text in raw if not request or request in text]
    return told[-lines:]


def _line(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
        return {"at": str(said.get("timestamp", "")), "text": text}
    except (ValueError, AttributeError):
        return {"at": "", "text": text}


def _files(component: Component) -> list[str]:
    files = (component.path / "log").glob("*-*.log")
    found: list[str] = []
    for file in sorted(files, key=lambda one: one.stat().st_mtime):
        with file.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - _MOST_BYTES))
            found += log.read().decode(errors="replace").splitlines()
    return found


def _journal(component: Component, lines: int) -> list[str]:
    words = [
        "journalctl", "--no-pager", "--output=cat", f"--lines={max(lines, 2000)}",
        "--unit", f"{UNITS[component.role]}@*.service",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()
