"""Reads the servers' log lines with their times, so that those of several hosts can be merged."""

import contextlib
import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocmt_cli.deploy.hostside.component import UNITS, Component

_MOST_BYTES = 4_000_000


@dataclass(frozen=True)
class Wanted:
    """Which log lines: those with `request` that match `pattern`, from the time `since` on."""

    request: str = ""
    since: str = ""
    """ISO 8601, UTC; empty for all."""
    pattern: str = ""
    """A regular expression."""

    def has(self, line: dict[str, str]) -> bool:
        text = line["text"]
        fits = self.request in text and line["at"] >= self.since
        return fits and re.search(self.pattern, text) is not None


def logs(
    component: Component, lines: int, wanted: dict[str, str], after: Any = None
) -> dict[str, Any]:
    """The newest `lines` lines as `{"at": ISO 8601, "text": …}`; `wanted` is a `Wanted`.

    With the last answer's `after`, returns all newer lines. `at` is empty if no line says its time.
    """
    only = Wanted(**wanted)
    if component.supervisor == "systemd":
        found, now_after = _journal(component, lines, only, after)
    else:
        found, now_after = _files(component, after)
    told = [line for line in found if only.has(line)]
    return {"lines": told[-lines:] if after is None else told, "after": now_after}


def _files(component: Component, after: Any) -> tuple[list[dict[str, str]], Any]:
    found: list[dict[str, str]] = []
    ends: dict[str, int] = {}
    files = sorted((component.path / "log").glob("*-*.log"), key=lambda one: one.stat().st_mtime)
    for file in files:
        text, ends[file.name] = _since(file, (after or {}).get(file.name, 0))
        found += timed(text.splitlines())
    return found, ends


def _since(file: Path, begin: int) -> tuple[str, int]:
    """The complete lines of a file after the offset `begin`, and the offset at their end.

    Reads at most the file's last 4 MB, whose first line may be cut.
    """
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


def _journal(
    component: Component, lines: int, only: Wanted, after: Any
) -> tuple[list[dict[str, str]], Any]:
    words = [
        "journalctl", "--no-pager", "--output=json", f"--lines={lines}",
        "--output-fields=MESSAGE", "--unit", f"{UNITS[component.role]}@*.service",
    ]  # fmt: skip
    if only.request or only.pattern:
        sought = re.escape(only.request) if only.request else only.pattern
        words += ["--case-sensitive=yes", "--grep", sought]
    if after:
        words += [f"--after-cursor={after}"]
    elif only.since:  # journalctl accepts one of both
        words += ["--since", f"{only.since.replace('T', ' ')} UTC"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    found = [_entry(entry) for entry in entries]
    return found, entries[-1]["__CURSOR"] if entries else after


def _entry(entry: dict[str, Any]) -> dict[str, str]:
    text = entry.get("MESSAGE") or ""
    if isinstance(text, list):  # bytes that are not UTF-8
        text = bytes(text).decode(errors="replace")
    (line,) = timed([str(text).replace("\n", " ")])
    seconds, microseconds = divmod(int(entry["__REALTIME_TIMESTAMP"]), 1_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return {"at": line["at"] or f"{stamp}.{microseconds:06d}Z", "text": line["text"]}
