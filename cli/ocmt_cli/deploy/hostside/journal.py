"""Reads a component's journal as events: deploys, rollbacks and restores, and their authors."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ocmt_cli.deploy.hostside.component import Component


def journal(component: Component, count: int) -> list[dict[str, str]]:
    """The newest `count` events, oldest first; empty if the component was never changed."""
    try:
        with (component.path / "journal.jsonl").open(encoding="utf-8", errors="replace") as lines:
            return list(events(lines))[-count:]
    except FileNotFoundError:
        return []


def events(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The events of a journal, each with `at`, `who`, `what` and `why`; `why` may be empty."""
    who = ""
    for line in lines:
        try:
            entry = json.loads(line)
            at, step = str(entry["at"]), str(entry["step"])
        except (ValueError, KeyError, TypeError):
            continue  # cut by a full disk or a power cut
        if step == "lock":
            who = str(entry.get("who", "")).partition(":")[0]
            continue
        what, why = _told(step, entry)
        if what:
            yield {"at": at, "who": who, "what": what, "why": why}


def _told(step: str, entry: dict[str, Any]) -> tuple[str, str]:
    words = [str(word) for word in entry.get("words") or [""]]
    phase = entry.get("phase")
    if phase == "failed":
        return f"{step} {words[0]} failed".replace("  ", " "), str(entry.get("why", ""))
    told = {
        ("switch", "done"): (f"deploy: {words[0]} serves", ""),
        ("intend_rollback", "begin"): (f"rollback to {words[0]} begins", "".join(words[1:2])),
        ("finish_rollback", "done"): ("rollback: the earlier release serves", ""),
        ("freeze", "begin"): ("frozen", words[0]),
        ("unfreeze", "done"): ("unfrozen", ""),
        ("converge", "done"): ("recovered from an interruption", ""),
        ("begin_restore", "begin"): (f"restore of the backup of {words[0]} begins", ""),
        ("finish_restore", "done"): ("restore is complete", ""),
        ("withdraw_restore", "done"): ("restore is withdrawn: the data before it stays", ""),
    }
    return told.get((step, str(phase)), ("", ""))
