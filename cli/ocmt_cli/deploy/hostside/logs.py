"""Reads the servers' log lines with their times, so that those of several hosts can be merged."""

import contextlib
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from ocmt_cli.deploy.hostside.component import UNITS, Component

_MOST_BYTES = 4_000_000


def logs(component: Component, lines: int, request: str, after: Any = None) -> dict[str, Any]:
    """The newest `lines` lines that have the text `request`, as `{"at": ISO 8601, "text": …}`.

    With the last answer's `after`, returns only newer lines.
    """
    read = _journal if component.supervisor == "systemd" else _files
    return read(component, lines, request, after)


def _files(component: Component, lines: int, request: str, after: Any) -> dict[str, Any]:
    found: list[dict[str, str]] = []
    ends: dict[str, int] = {}
    files = sorted((component.path / "log").glob("*-*.log"), key=lambda one: one.stat().st_mtime)
    for file in files:
        text, ends[file.name] = _since(file, (after or {}).get(file.name, 0))
        found += timed(text.splitlines())
    told = [line for line in found if request in line["text"]]
    return {"lines": told[-lines:] if after is None else told, "after": ends}


def _since(file: Path, begin: int) -> tuple[str, int]:
    """The complete lines of a file after the offset `begin`, and the offset at their end."""
    with file.open("rb") as log:
        size = log.seek(0, 2)
        begin = log.seek(max(begin, size - _MOST_BYTES))
        read = log.read()
    whole = read[: read.rfind(b"\n") + 1]
    return whole.decode(errors="replace"), begin + len(whole)


def timed(texts: list[str]) -> list[dict[str, str]]:
    """Lines with their times. One without, as in a traceback, gets the time of the line before."""
    found: list[dict[str, str]] = []
    at = ""
    for text in texts:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            at = str(json.loads(text)["timestamp"])
        found.append({"at": at, "text": text})
    return found


def _journal(component: Component, lines: int, request: str, after: Any) -> dict[str, Any]:
    words = [
        "journalctl", "--no-pager", "--output=json", f"--lines={lines}",
        "--output-fields=MESSAGE", "--unit", f"{UNITS[component.role]}@*.service",
    ]  # fmt: skip
    if request:
        words += ["--case-sensitive=yes", "--grep", re.escape(request)]
    if after:
        words += [f"--after-cursor={after}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    found = [_entry(entry) for entry in entries]
    return {"lines": found, "after": entries[-1]["__CURSOR"] if entries else after}


def _entry(entry: dict[str, Any]) -> dict[str, str]:
    text = entry.get("MESSAGE") or ""
    if isinstance(text, list):  # bytes that are not UTF-8
        text = bytes(text).decode(errors="replace")
    (line,) = timed([str(text).replace("\n", " ")])
    seconds, microseconds = divmod(int(entry["__REALTIME_TIMESTAMP"]), 1_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return {"at": line["at"] or f"{stamp}.{microseconds:06d}Z", "text": line["text"]}
