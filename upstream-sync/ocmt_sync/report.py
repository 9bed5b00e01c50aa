"""The data of `sync status`, `list` and `show`, which the commands print as text or JSON."""

import hashlib
import json
from collections import Counter
from datetime import datetime
from typing import Any

from ocmt_common.atomic_files import replace_file

from ocmt_sync.divergence import (
    Divergence,
    Item,
    Progress,
    Refs,
    divergence_surface,
    read_divergence,
    read_refs,
)
from ocmt_sync.forecast import forecaster, prerequisites
from ocmt_sync.git import Repository, shown
from ocmt_sync.history import trees_of
from ocmt_sync.journal import read_journal
from ocmt_sync.policy import FOLD, Policy
from ocmt_sync.security import load_advisories

_SECURITY_SHOWN = 20
_KIND = "status-2"
_CACHE = "status.json"


def status(
    repository: Repository, policy: Policy, *, now: datetime, progress: Progress
) -> dict[str, Any]:
    """The report, from the cache unless a ref, the policy, an advisory or the date has changed."""
    refs = read_refs(repository, policy)
    key = _key(repository, policy, refs, now)
    report = _kept(repository, key)
    if report is None:
        report = _status(read_divergence(repository, policy, today=now.date(), progress=progress))
        path = repository.state / _CACHE
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({"key": key, "report": report}), durable=False)
    return _as_of_now(repository, report, now)


def _key(repository: Repository, policy: Policy, refs: Refs, now: datetime) -> list[str]:
    _, advisories = load_advisories(policy, top=repository.top, state=repository.state)
    parts = [policy.digest, refs.upstream, *refs.ours, refs.base, f"{now:%Y-%m-%d}"]
    return [_KIND, hashlib.sha256(repr(parts).encode() + advisories).hexdigest()]


def _kept(repository: Repository, key: list[str]) -> dict[str, Any] | None:
    try:
        kept = json.loads((repository.state / _CACHE).read_bytes())
    except (OSError, ValueError):
        return None
    report: dict[str, Any] | None = kept.get("report") if kept.get("key") == key else None
    return report


def _as_of_now(repository: Repository, report: dict[str, Any], now: datetime) -> dict[str, Any]:
    journal = read_journal(repository.state)
    oldest = report["security"]["oldestAt"]
    report["security"]["oldestAgeDays"] = (
        None if oldest is None else round(max(0.0, now.timestamp() - oldest) / 86400, 1)
    )
    report["unfinishedApply"] = None if journal is None else (journal.conflict or "interrupted")
    return report


def _status(divergence: Divergence) -> dict[str, Any]:
    git, refs = divergence.repository.git, divergence.refs
    waiting = divergence.open
    secure = sorted((i for i in waiting if i.security), key=lambda i: i.commit.committed)
    classes = Counter(item.cls for item in waiting)
    states = Counter(item.state for item in divergence.items.values())
    surface = divergence_surface(divergence)
    picks = [c.committed for c in divergence.ours if c.picked_from or c.snapshot_of]
    return {
        "upstream": refs.upstream,
        "base": refs.base,
        "behind": int(git.text("rev-list", "--count", f"{refs.main}..{refs.upstream}")),
        "ahead": int(git.text("rev-list", "--count", f"{refs.upstream}..{refs.main}")),
        "open": len(waiting),
        "byClass": {cls: classes[cls] for cls in FOLD[::-1]},
        "byState": dict(sorted(states.items())),
        "security": {
            "open": len(secure),
            "oldestAt": secure[0].commit.committed if secure else None,
            "commits": [brief(item) for item in secure[:_SECURITY_SHOWN]],
        },
        "divergence": {"files": len(surface), "paths": [shown(p) for p in surface[:50]]},
        "lastSync": divergence.ledger.last_at(),
        "lastPickAt": max(picks, default=None),
        "branchesDiverged": refs.diverged,
        "policy": divergence.policy.source,
    }


def brief(item: Item) -> dict[str, Any]:
    """The fields of a commit in a list."""
    commit = item.commit
    return {
        "commit": commit.sha,
        "subject": shown(commit.subject),
        "author": shown(commit.author),
        "at": commit.committed,
        "class": item.cls,
        "state": item.state,
        "security": [shown(e) for e in item.security],
        "files": len(commit.files),
        "numbers": list(commit.numbers),
    }


def show(divergence: Divergence, item: Item) -> dict[str, Any]:
    """All fields of a commit, with a forecast of picking it now."""
    commit, policy = item.commit, divergence.policy
    by_class: dict[str, list[dict[str, str]]] = {}
    for path in commit.files:
        rule = policy.rule_for(path)
        by_class.setdefault(rule.cls if rule else "unknown", []).append(
            {
                "path": shown(path),
                "rule": rule.pattern if rule else "",
                "why": rule.why if rule else "",
            }
        )
    later = [
        i.commit.sha
        for i in divergence.items.values()
        if any(r and commit.sha.startswith(r) for r in i.commit.reverts)
    ]
    return {
        **brief(item),
        "filesByClass": by_class,
        "merge": commit.is_merge,
        "submodules": commit.submodules,
        "reverts": list(commit.reverts),
        "revertedBy": later,
        "taken": None
        if item.already_picked is None
        else {"how": item.already_picked.how, "by": item.already_picked.by},
        "decision": None
        if item.entry is None
        else {
            "act": item.entry.act,
            "reason": item.entry.reason,
            "until": item.entry.until,
            "at": item.entry.at,
            "by": item.entry.by,
        },
        "forecast": _forecast(divergence, item),
    }


def _forecast(divergence: Divergence, item: Item) -> dict[str, Any]:
    sha = item.commit.sha
    order = list(divergence.items)
    earlier = order[: order.index(sha)] if sha in divergence.items else []
    git, base = divergence.repository.git, divergence.refs.base
    with forecaster(divergence.repository, base) as cast:
        tree = git.tree_of(base)
        outcome = cast.pick(tree, trees_of(git, [sha])[sha])
        needs: list[str] | None = None
        if not outcome.clean:
            conflicting = set(outcome.conflicts)
            paths = {
                p for p in conflicting if divergence.policy.class_of_file(p) != "neutral"
            } or conflicting
            touching = [
                s
                for s in earlier
                if divergence.items[s].already_picked is None
                and paths & set(divergence.items[s].commit.files)
            ][-24:]
            trees = trees_of(git, [*touching, sha])
            needs = prerequisites(cast, tree, sha, touching, trees, paths=paths)
    return {
        "clean": outcome.clean,
        "empty": outcome.clean and outcome.tree == tree,
        "conflicts": {shown(path): kind for path, kind in sorted(outcome.conflicts.items())},
        "needs": needs or [],
    }
