"""Finds commits about security, with the evidence.

There are three sources, since none is enough alone: keywords and trailers in the message, paths
that upstream's CODEOWNERS assigns to security teams, and commits or pull requests in advisories.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocmt_common.atomic_files import replace_file

from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.git import Git, text
from ocmt_sync.globs import FirstMatch, codeowners_regex
from ocmt_sync.history import Commit
from ocmt_sync.policy import Policy

if TYPE_CHECKING:
    import httpx2

CODEOWNERS_PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
_MAX_ADVISORY_BYTES = 50_000_000
_COMMIT_URL = re.compile(r"/commit/([0-9a-f]{7,64})(?![0-9a-z])")
_PULL_URL = re.compile(r"/pull/(\d+)(?!\d)")
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def message_evidence(policy: Policy, subject: str, body: str) -> tuple[str, ...]:
    """The evidence in a message: keywords in the subject, and security trailers in the body."""
    found = [f"keyword: {m.group(0)}" for m in [policy.keyword_pattern.search(subject)] if m]
    if ":" in body:
        found += [f"trailer: {m.group(0).strip()}" for m in policy.trailer_pattern.finditer(body)]
    return tuple(found)


class Owners:
    """The security teams that own a path by a CODEOWNERS file, whose last matching line applies."""

    def __init__(self, content: str, teams: Sequence[str]) -> None:
        wanted = {team.lower() for team in teams}
        lines: list[tuple[str, tuple[str, ...]]] = []
        for line in content.splitlines():
            words = re.split(r"(?<!\\)\s+", line.split(" #")[0].strip())
            if words[0] and not words[0].startswith("#"):
                pattern = words[0].replace("\\ ", " ")
                lines.append((pattern, tuple(w for w in words[1:] if w.lower() in wanted)))
        self._lines = lines[::-1]
        self._match = FirstMatch([codeowners_regex(pattern) for pattern, _ in self._lines])

    def security_owner(self, path: str) -> str | None:
        index = self._match(path)
        owners = () if index is None else self._lines[index][1]
        return owners[0] if owners else None


def read_owners(git: Git, commit: str, teams: Sequence[str]) -> Owners:
    """The owners by CODEOWNERS at `commit`."""
    for place in CODEOWNERS_PLACES:
        found = git.result("cat-file", "blob", f"{commit}:{place}")
        if found.returncode == 0:
            return Owners(text(found.stdout), teams)
    return Owners("", teams)


@dataclass(frozen=True)
class Advisories:
    """Commits and pull requests in published advisories → the advisory's id."""

    commits: Mapping[str, str] = field(default_factory=dict)
    pulls: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _by_start(self) -> Mapping[str, list[tuple[str, str]]]:
        starts: dict[str, list[tuple[str, str]]] = {}
        for sha, name in self.commits.items():
            starts.setdefault(sha[:7], []).append((sha, name))
        return starts

    def evidence(self, commit: Commit) -> list[str]:
        found = [
            f"advisory: {name} names this commit"
            for sha, name in self._by_start.get(commit.sha[:7], ())
            if commit.sha.startswith(sha)
        ]
        return found + [
            f"advisory: {self.pulls[number]} names {number}"
            for number in commit.numbers[:1]
            if number in self.pulls and f"({number})" in commit.subject
        ]


def parse_advisories(data: bytes, *, source: str) -> Advisories:
    """Parse OSV or GHSA: an object, a list, an object per line, or OSV's `{"vulns": […]}`.

    Raises `SyncError`.
    """
    try:
        try:
            document = json.loads(data)
        except json.JSONDecodeError:
            document = [json.loads(line) for line in data.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise SyncError(Exit.INPUT, f"{source} is not OSV or GHSA JSON: {error}") from error
    if isinstance(document, dict):
        document = document.get("vulns", [document])
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise SyncError(Exit.INPUT, f"{source} is not a list of advisories.")
    commits: dict[str, str] = {}
    pulls: dict[str, str] = {}
    for entry in document:
        if entry.get("withdrawn") or entry.get("withdrawn_at"):
            continue
        name = str(entry.get("id") or entry.get("ghsa_id") or source)
        if entry.get("ghsa_id"):
            name = str(entry["ghsa_id"])
        for url in _urls(entry.get("references")):
            commits.update(dict.fromkeys(_COMMIT_URL.findall(url), name))
            pulls.update((f"#{number}", name) for number in _PULL_URL.findall(url))
        commits.update(dict.fromkeys(_fixed(entry.get("affected")), name))
    return Advisories(commits, pulls)


def _urls(references: Any) -> Iterable[str]:
    for reference in references if isinstance(references, list) else []:
        url = reference.get("url") if isinstance(reference, dict) else reference
        if isinstance(url, str):
            yield url


def _fixed(affected: Any) -> Iterable[str]:
    for package in _dicts(affected):
        for versions in _dicts(package.get("ranges")):
            if versions.get("type") == "GIT":
                for event in _dicts(versions.get("events")):
                    if _SHA.fullmatch(str(event.get("fixed", ""))):
                        yield str(event["fixed"])


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def merge_advisories(parts: Iterable[Advisories]) -> Advisories:
    commits: dict[str, str] = {}
    pulls: dict[str, str] = {}
    for part in parts:
        commits.update(part.commits)
        pulls.update(part.pulls)
    return Advisories(commits, pulls)


def kept_copy(state: Path, url: str) -> Path:
    """The local copy of an advisory URL, which `fetch` writes."""
    return state / "advisories" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


def is_url(place: str) -> bool:
    return "://" in place


def advisory_files(policy: Policy, *, top: Path | None, state: Path) -> list[tuple[str, Path]]:
    """`(source, local file)` of each configured source."""
    return [
        (place, kept_copy(state, place) if is_url(place) else (top or Path()) / place)
        for place in policy.advisories
    ]


def load_advisories(policy: Policy, *, top: Path | None, state: Path) -> tuple[Advisories, bytes]:
    """The advisories, and their files' bytes as a cache key. Raises `SyncError`."""
    parts: list[Advisories] = []
    everything = b""
    for place, path in advisory_files(policy, top=top, state=state):
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            todo = "run `ocmt sync fetch`" if is_url(place) else "correct security.advisories"
            raise SyncError(Exit.INPUT, f"The advisories {place} are missing: {todo}.") from error
        except OSError as error:
            raise SyncError(Exit.INPUT, f"Cannot read {path}: {error.strerror}.") from error
        parts.append(parse_advisories(data, source=place))
        everything += data
    return merge_advisories(parts), everything


def download_advisories(policy: Policy, *, state: Path) -> list[str]:
    """Download the advisory URLs and return them.

    Local copies are replaced atomically, and only by valid content. Raises `SyncError`.
    """
    import httpx2  # noqa: PLC0415 (slow to import, and only `fetch` needs it)

    urls = [place for place in policy.advisories if is_url(place)]
    for url in urls:
        content = b""
        try:
            _refuse_plain_http(httpx2.URL(url), url)
            with httpx2.stream("GET", url, timeout=30, follow_redirects=True) as answer:
                answer.raise_for_status()
                for hop in (*answer.history, answer):
                    _refuse_plain_http(hop.url, url)
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > _MAX_ADVISORY_BYTES:
                        raise SyncError(Exit.INPUT, f"The advisories {url} are larger than 50 MB.")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SyncError(Exit.FAILED, f"Cannot read the advisories {url}: {error}") from error
        parse_advisories(content, source=url)
        target = kept_copy(state, url)
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)
    return urls


def _refuse_plain_http(hop: "httpx2.URL", url: str) -> None:
    if hop.scheme != "https" and hop.host not in ("127.0.0.1", "localhost", "::1"):
        raise SyncError(Exit.INPUT, f"Advisories must come over https, but {url} leads to {hop}.")


@dataclass(frozen=True, slots=True)
class SecuritySources:
    """CODEOWNERS and advisories, two of the sources of evidence."""

    owners: Owners
    advisories: Advisories

    def evidence(self, commit: Commit) -> list[str]:
        owned = next(
            (
                f"path: {path} is owned by {owner}"
                for path in commit.files
                if (owner := self.owners.security_owner(path))
            ),
            None,
        )
        found = list(commit.evidence)
        found += [owned] if owned else []
        return found + self.advisories.evidence(commit)
