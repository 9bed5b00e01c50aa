"""The sync policy: classifies upstream's commits by their paths. Pure.

Ordered globs classify each file (the first match applies), and the files' classes give the
commit's: that of its most demanding file. `neutral` and `skip` files do not hold back the others.
One file without a rule makes the commit `unknown`, so that an operator looks at it.
"""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.globs import FirstMatch, glob_regex

Class = Literal["always", "evaluate", "careful", "skip", "neutral"]
CommitClass = Literal["always", "evaluate", "careful", "skip", "neutral", "unknown"]
CLASSES: tuple[Class, ...] = get_args(Class)
# From least to most demanding.
FOLD: tuple[CommitClass, ...] = ("neutral", "skip", "always", "evaluate", "careful", "unknown")
POLICY_FILE = "sync.toml"
_RULE_KEYS = ("class", "paths", "why")


@dataclass(frozen=True, slots=True)
class Rule:
    """A glob of the policy and the class of its files."""

    pattern: str
    cls: Class
    why: str


@dataclass(frozen=True)
class Policy:
    """A checked `sync.toml`."""

    rules: tuple[Rule, ...]
    upstream_remote: str
    upstream_branch: str
    fork_remote: str
    fork_branch: str
    sync_branch: str
    ledger: str
    keywords: tuple[str, ...]
    trailers: tuple[str, ...]
    teams: tuple[str, ...]
    advisories: tuple[str, ...]
    test_commands: tuple[str, ...]
    stale_after_h: float
    digest: str
    source: str

    @cached_property
    def _match(self) -> FirstMatch:
        return FirstMatch([glob_regex(rule.pattern) for rule in self.rules])

    def rule_for(self, path: str) -> Rule | None:
        index = self._match(path)
        return None if index is None else self.rules[index]

    def class_of_file(self, path: str) -> CommitClass:
        rule = self.rule_for(path)
        return "unknown" if rule is None else rule.cls

    def class_of(self, paths: Iterable[str]) -> CommitClass:
        return fold(self.class_of_file(path) for path in paths)

    @property
    def upstream_ref(self) -> str:
        return f"refs/remotes/{self.upstream_remote}/{self.upstream_branch}"

    @cached_property
    def keyword_pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{k})" for k in self.keywords) or r"(?!)", re.IGNORECASE)

    @cached_property
    def trailer_pattern(self) -> re.Pattern[str]:
        names = "|".join(re.escape(t) for t in self.trailers) or r"(?!)"
        return re.compile(rf"^(?:{names}):[ \t]*(.+)$", re.IGNORECASE | re.MULTILINE)


def fold(classes: Iterable[CommitClass]) -> CommitClass:
    """A commit's class by its files' classes; `neutral` if it has no files."""
    return FOLD[max((FOLD.index(c) for c in set(classes)), default=0)]


# What `git check-ref-format` rejects.
_NO_NAME = re.compile(r"[\x00- ~^:?*\[\\\x7f]|\.\.|@\{|//|^/|/$|(?:^|/)\.|\.(?:lock)?(?:/|$)|^@$")

_SHAPE: Mapping[str, Mapping[str, type]] = {
    "upstream": {"remote": str, "branch": str},
    "fork": {"remote": str, "branch": str, "sync_branch": str, "ledger": str},
    "security": {"keywords": list, "trailers": list, "teams": list, "advisories": list},
    "test": {"commands": list},
    "fetch": {"stale_after_h": float},
}


def parse_policy(data: bytes, *, source: str) -> Policy:
    """Parse a policy. Raises one `SyncError` with all mistakes in its keys and rules."""
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SyncError(Exit.INPUT, f"{source} is not valid TOML: {error}") from error
    mistakes: list[str] = []
    if document.get("version") != 1:
        mistakes.append("`version = 1` is missing; it is the first line of every policy")
    for key in document.keys() - _SHAPE.keys() - {"version", "rule"}:
        mistakes.append(f"unknown section `{key}`{_close(key, [*_SHAPE, 'rule'])}")
    for section, keys in _SHAPE.items():
        _check_section(section, keys, document, mistakes)
    rules = _rules(document.get("rule", []), mistakes)
    if not rules and not mistakes:
        mistakes.append("there is no [[rule]] (in double brackets, with `class` and `paths`)")
    if mistakes:
        raise SyncError(Exit.INPUT, f"Correct {source}: " + "; ".join(mistakes))
    defaults = {} if source == DEFAULT_SOURCE else _default_document()

    def value(section: str, key: str) -> Any:
        own = document.get(section, {})
        return own[key] if key in own else defaults.get(section, {}).get(key)

    policy = Policy(
        rules=tuple(rules),
        upstream_remote=value("upstream", "remote"),
        upstream_branch=value("upstream", "branch"),
        fork_remote=value("fork", "remote"),
        fork_branch=value("fork", "branch"),
        sync_branch=value("fork", "sync_branch"),
        ledger=value("fork", "ledger").strip("/"),
        keywords=tuple(value("security", "keywords")),
        trailers=tuple(value("security", "trailers")),
        teams=tuple(value("security", "teams")),
        advisories=tuple(value("security", "advisories")),
        test_commands=tuple(value("test", "commands")),
        stale_after_h=float(value("fetch", "stale_after_h")),
        digest=hashlib.sha256(data + default_policy_bytes()).hexdigest()[:16],
        source=source,
    )
    if policy.sync_branch == policy.fork_branch:
        raise SyncError(
            Exit.INPUT,
            f"Correct {source}: `fork.sync_branch` and `fork.branch` are both "
            f"`{policy.fork_branch}`; sync needs a branch of its own, such as upstream-sync.",
        )
    return policy


def _check_section(
    section: str, keys: Mapping[str, type], document: Mapping[str, Any], mistakes: list[str]
) -> None:
    own = document.get(section, {})
    if not isinstance(own, dict):
        mistakes.append(f"`{section}` is not a [section]")
        return
    for key in own.keys() - keys.keys():
        mistakes.append(f"unknown key `{section}.{key}`{_close(key, keys)}")
    for key in own.keys() & keys.keys():
        kind, found = keys[key], own[key]
        where = f"`{section}.{key}`"
        if kind is str and not (isinstance(found, str) and found):
            mistakes.append(f"{where} must be a text in quotes, not {found!r}")
        elif kind is list and not _are_texts(found):
            mistakes.append(f'{where} must be a list of texts, such as ["one", "two"]')
        elif kind is float and not (type(found) in (int, float) and found > 0):
            mistakes.append(f"{where} must be a number above 0, not {found!r}")
        elif kind is str and (mistake := _name_mistake(key, found)):
            mistakes.append(f"{where} = {found!r} {mistake}")
    if section == "security" and _are_texts(own.get("keywords", [])):
        for keyword in own.get("keywords", []):
            try:
                re.compile(keyword)
            except re.error as error:
                mistakes.append(
                    f"security keyword {keyword!r} is not a regular expression: {error}"
                )


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(item, str) and item for item in found)


def _name_mistake(key: str, name: str) -> str | None:
    """Why `name` is no valid ledger folder, remote or branch; `None` if it is valid."""
    if key == "ledger":
        parts = {part.lower() for part in name.strip("/").split("/")}
        outside = name.startswith("/") or parts & {"", ".", "..", ".git"}
        return "is not a folder inside the fork, such as .ocmt-sync/ledger" if outside else None
    if name.startswith("-") or _NO_NAME.search(name):
        return "is not a name that git allows"
    return None


def _close(key: str, known: Iterable[str]) -> str:
    """A hint: the closest known name, or all of them."""
    meant = difflib.get_close_matches(key, list(known), 1)
    return f" (did you mean `{meant[0]}`?)" if meant else f"; known: {', '.join(known)}"


def _rules(found: Any, mistakes: list[str]) -> list[Rule]:
    rules: list[Rule] = []
    seen: set[str] = set()
    for number, entry in enumerate(found if isinstance(found, list) else [], 1):
        where = f"rule {number}"
        if not isinstance(entry, dict):
            mistakes.append(f"{where} is not a [[rule]]")
            continue
        if isinstance(entry.get("paths"), list) and entry["paths"]:
            where += f" ({entry['paths'][0]})"
        for key in entry.keys() - set(_RULE_KEYS):
            mistakes.append(f"{where} has an unknown key `{key}`{_close(key, _RULE_KEYS)}")
        cls, paths, why = entry.get("class"), entry.get("paths"), entry.get("why", "")
        if cls not in CLASSES:
            mistakes.append(f"{where}: class {cls!r} is not one of {', '.join(CLASSES)}")
            continue
        if not isinstance(paths, list) or not paths or not isinstance(why, str):
            mistakes.append(f"{where} needs `paths`, a list of globs (and `why` is a text)")
            continue
        for pattern in paths:
            mistake = _pattern_mistake(pattern, seen)
            if mistake:
                mistakes.append(f"{where}: {mistake}")
            else:
                seen.add(pattern)
                rules.append(Rule(pattern, cls, why))
    return rules


def _pattern_mistake(pattern: Any, seen: set[str]) -> str | None:
    if not isinstance(pattern, str) or not pattern:
        return "a glob must be a text"
    if pattern.startswith(("/", "./", "!")) or "//" in pattern:
        return (
            f"glob {pattern!r} is anchored at the root anyway: remove the leading `/`, `./` or `!`"
        )
    if pattern in seen:
        return f"glob {pattern!r} appears twice"
    try:
        re.compile(glob_regex(pattern))
    except re.error as error:
        return f"glob {pattern!r}: {error}"
    return None


DEFAULT_SOURCE = "the default policy"


def default_policy_bytes() -> bytes:
    """The default policy, for OpenClaw."""
    return resources.files("ocmt_sync").joinpath("default_policy.toml").read_bytes()


def _default_document() -> dict[str, Any]:
    return tomllib.loads(default_policy_bytes().decode("utf-8"))


def load_policy(path: Path | None, top: Path | None) -> Policy:
    """The policy at `path`, or else `sync.toml` in `top`, or else the default one.

    Raises `SyncError`.
    """
    if path is None and top is not None and (top / POLICY_FILE).is_file():
        path = top / POLICY_FILE
    if path is None:
        return parse_policy(default_policy_bytes(), source=DEFAULT_SOURCE)
    try:
        return parse_policy(path.read_bytes(), source=str(path))
    except OSError as error:
        raise SyncError(Exit.INPUT, f"Cannot read the policy {path}: {error.strerror}.") from error
