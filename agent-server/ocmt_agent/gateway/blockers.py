"""Converts a gateway's blockers to kinds and counts. Pure.

A gateway's own text may contain its user's command lines and titles (`label=sleep 100; … title=…`),
which operators must not see. So none of it is kept: the kinds are those in OpenClaw's schema of
`gateway.suspend.prepare`, and any other is an "other task".
"""

_KINDS = {
    "background-exec": ("background command", "background commands"),
    "chat-run": ("active chat", "active chats"),
    "cron-run": ("scheduled job", "scheduled jobs"),
    "embedded-run": ("active run", "active runs"),
    "queue": ("queued task", "queued tasks"),
    "queued-turn": ("queued message", "queued messages"),
    "reply": ("reply under way", "replies under way"),
    "root-request": ("active request", "active requests"),
    "session-admission": ("session being opened", "sessions being opened"),
    "session-mutation": ("session being changed", "sessions being changed"),
    "task": ("task", "tasks"),
    "terminal-persistence": ("chat being saved", "chats being saved"),
    "terminal-session": ("open terminal session", "open terminal sessions"),
}
_OTHER = ("other task", "other tasks")
_MOST = 10_000


def kinds_and_counts(blockers: object) -> list[str]:
    """Blockers such as `["2 active requests", "1 background command"]`; empty if not a list.

    Items with a `task` are details of their kind's total, and are counted only if it is missing.
    """
    totals: dict[tuple[str, str], int] = {}
    details: dict[tuple[str, str], int] = {}
    for item in blockers if isinstance(blockers, list) else []:
        kind = item.get("kind") if isinstance(item, dict) else None
        words = _KINDS.get(kind, _OTHER) if isinstance(kind, str) else _OTHER
        detail = isinstance(item, dict) and item.get("task") is not None
        found = details if detail else totals
        found[words] = min(found.get(words, 0) + _count(item), _MOST)
    counts = {words: totals.get(words) or details[words] for words in (*totals, *details)}
    return [f"{count} {words[count > 1]}" for words, count in counts.items()]


def _count(item: object) -> int:
    count = item.get("count") if isinstance(item, dict) else None
    return count if isinstance(count, int) and count > 0 else 1
