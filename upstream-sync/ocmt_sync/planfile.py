"""The plan as a file: TOML with one line per commit, to be read, edited and committed."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.git import shown

Strategy = Literal["pick", "merge", "snapshot"]
Do = Literal["pick", "skip", "defer", "hold"]
_SHA_LENGTHS = (40, 64)
_TARGETS = {"merge": ("target",), "snapshot": ("target", "before")}


@dataclass(frozen=True, slots=True)
class Line:
    """What to do with a commit. `tree` is the forecast tree after its pick, or ""."""

    do: Do
    commit: str
    cls: str
    subject: str
    why: str = ""
    until: str = ""
    security: bool = False
    tree: str = ""
    conflicts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, as its file stores it.

    `base` is the commit from which it starts, `target` the commit to merge or snapshot, and
    `before`, for a snapshot, the upstream commit of the last one, or else the merge base.
    `compared` (strategy → its forecast as text) is only a comment in the file.
    """

    strategy: Strategy
    base: str
    upstream: str
    target: str
    target_name: str
    tree: str
    before: str = ""
    lines: tuple[Line, ...] = ()
    conflicts: tuple[str, ...] = ()
    compared: dict[str, str] = field(default_factory=dict)

    def picks(self) -> list[Line]:
        return [line for line in self.lines if line.do == "pick"]

    def with_lines(self, lines: tuple[Line, ...]) -> "Plan":
        return replace(self, lines=lines)


_HEADER = """\
# An `ocmt sync` plan: check it, edit it, then `ocmt sync apply {name}`. A commit's `do` is
#   "pick"   take it                 "skip"   never ask again (say why in `why`)
#   "defer"  ask again on `until`    "hold"   leave it undecided
# Lines may be reordered or removed; a removed commit stays undecided. `tree` is the forecast.
"""


def render(plan: Plan, *, name: str) -> str:
    """Serialise the plan."""
    out = [_HEADER.format(name=name)]
    out += [f"# Forecast, {how}: {what}" for how, what in plan.compared.items()]
    out += [
        "",
        "version = 1",
        f"strategy = {_quoted(plan.strategy)}",
        f"base = {_quoted(plan.base)}",
    ]
    out += [f"upstream = {_quoted(plan.upstream)}"]
    if plan.strategy != "pick":
        out += [f"target = {_quoted(plan.target)}", f"target_name = {_quoted(plan.target_name)}"]
        out += [f"before = {_quoted(plan.before)}"]
        out += [f"conflicts = {_list(plan.conflicts)}"]
    out += [f"tree = {_quoted(plan.tree)}"]
    if plan.strategy == "pick":
        out += ["", "commits = [", *_lines(plan.lines), "]"]
    return "\n".join(out) + "\n"


def _lines(lines: tuple[Line, ...]) -> Iterator[str]:
    for line in lines:
        parts = [f"do = {_quoted(line.do)}", f"commit = {_quoted(line.commit)}"]
        parts += [f"class = {_quoted(line.cls)}"]
        if line.security:
            parts += ["security = true"]
        parts += [f"subject = {_quoted(line.subject)}"]
        for key in ("why", "until", "tree"):
            if getattr(line, key):
                parts += [f"{key} = {_quoted(getattr(line, key))}"]
        for key in ("conflicts", "needs"):
            if getattr(line, key):
                parts += [f"{key} = {_list(getattr(line, key))}"]
        yield "  {" + ", ".join(parts) + "},"


def _quoted(value: str) -> str:
    # A JSON string of printable characters is also a TOML basic string, except for DEL.
    return json.dumps(shown(value), ensure_ascii=False).replace("\x7f", "\\u007F")


def _list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(_quoted(v) for v in values) + "]"


def parse(content: str, *, source: str) -> Plan:
    """Parse a plan, which may have been edited. Raises one `SyncError` with all mistakes."""
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise SyncError(Exit.INPUT, f"{source} is not valid TOML: {error}") from error
    mistakes: list[str] = []
    if document.get("version") != 1:
        mistakes.append("`version = 1` is missing")
    strategy = document.get("strategy")
    if strategy not in get_args(Strategy):
        mistakes.append(f"strategy {strategy!r} is not one of {', '.join(get_args(Strategy))}")
    for key in ("base", "upstream", *_TARGETS.get(str(strategy), ())):
        if not _is_sha(document.get(key)):
            mistakes.append(f"`{key}` is not a full commit name")
    lines: list[Line] = []
    seen: set[str] = set()
    entries = document.get("commits", [])
    for number, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        line = _line(entry, number, mistakes)
        if line is not None and line.commit in seen:
            mistakes.append(f"commit {line.commit[:12]} appears twice")
        elif line is not None:
            seen.add(line.commit)
            lines.append(line)
    if mistakes:
        raise SyncError(Exit.INPUT, f"Correct {source}: " + "; ".join(mistakes))
    return Plan(
        strategy=document["strategy"],
        base=document["base"],
        upstream=document["upstream"],
        target=document.get("target", ""),
        target_name=document.get("target_name", ""),
        tree=document.get("tree", ""),
        before=document.get("before", ""),
        lines=tuple(lines),
        conflicts=tuple(document.get("conflicts", [])),
    )


def _line(entry: Any, number: int, mistakes: list[str]) -> Line | None:
    if not isinstance(entry, dict) or not _is_sha(entry.get("commit")):
        mistakes.append(f"commit {number} has no full `commit` name")
        return None
    where = entry["commit"][:12]
    do: Do
    match entry.get("do"):
        case "pick" | "skip" | "defer" | "hold" as do:
            pass
        case other:
            mistakes.append(f"{where}: do = {other!r} is not one of {', '.join(get_args(Do))}")
            return None
    until = str(entry.get("until", ""))
    if do == "skip" and not str(entry.get("why", "")).strip():
        mistakes.append(f"{where}: a skip needs a reason in `why`")
    if do == "defer":
        try:
            date.fromisoformat(until)
        except ValueError:
            mistakes.append(f"{where}: a defer needs `until`, a date such as 2030-01-31")
    return Line(
        do=do,
        commit=entry["commit"],
        cls=str(entry.get("class", "")),
        subject=str(entry.get("subject", "")),
        why=str(entry.get("why", "")),
        until=until,
        security=entry.get("security") is True,
        tree=str(entry.get("tree", "")),
        conflicts=tuple(map(str, entry.get("conflicts", []))),
        needs=tuple(map(str, entry.get("needs", []))),
    )


def _is_sha(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) in _SHA_LENGTHS
        and all(c in "0123456789abcdef" for c in value)
    )


def plan_text(path: Path) -> str:
    """The content of a plan's file, for `parse`. Raises `SyncError` if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise SyncError(Exit.INPUT, f"Cannot read the plan {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SyncError(Exit.INPUT, f"The plan {path} is not UTF-8: {error}.") from error
