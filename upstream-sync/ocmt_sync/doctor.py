"""`sync doctor`: finds what would make a sync wrong or harmful, with the cure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ocmt_sync.errors import SyncError
from ocmt_sync.git import Repository, shown, text
from ocmt_sync.globs import FirstMatch, glob_regex
from ocmt_sync.journal import read_journal
from ocmt_sync.policy import Policy
from ocmt_sync.publish import same_place, urls
from ocmt_sync.security import load_advisories

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding: a stable code, and a message with the cure."""

    code: str
    message: str


def examine(repository: Repository, policy: Policy, *, now: datetime) -> list[Finding]:
    """Run the checks; those of upstream's files only if it is fetched. Empty without findings."""
    findings = [*_git(repository), *_remotes(repository, policy), *_state(repository)]
    findings += _advisories(repository, policy)
    upstream = repository.git.resolve(policy.upstream_ref)
    if upstream is None:
        name = f"{policy.upstream_remote}/{policy.upstream_branch}"
        return [
            *findings,
            Finding("no-upstream", f"{name} is not fetched yet: run `ocmt sync fetch`."),
        ]
    findings += _freshness(repository, policy, now)
    listed = repository.git.output("ls-tree", "-r", "-z", "--name-only", "--full-tree", upstream)
    return findings + rule_findings(policy, [text(p) for p in listed.split(b"\0") if p])


def rule_findings(policy: Policy, paths: list[str]) -> list[Finding]:
    """Check the rules against upstream's files: dead rules, overlaps, files without a rule."""
    matches = [FirstMatch([glob_regex(rule.pattern)]) for rule in policy.rules]
    reach = [{path for path in paths if match(path) is not None} for match in matches]
    first: Counter[int] = Counter()
    unknown: list[str] = []
    for path in paths:
        index = next((i for i, found in enumerate(reach) if path in found), None)
        if index is None:
            unknown.append(path)
        else:
            first[index] += 1
    out: list[Finding] = []
    for i, rule in enumerate(policy.rules):
        if not reach[i]:
            out.append(
                Finding("dead-rule", f"`{rule.pattern}` matches nothing upstream: correct it.")
            )
        elif not first[i]:
            out.append(
                Finding(
                    "dead-rule",
                    f"`{rule.pattern}` never applies: earlier rules match all its files. Move it "
                    "before them, or remove it.",
                )
            )
    for i, j, common in _crossings(policy, reach):
        out.append(
            Finding(
                "overlap",
                f"`{policy.rules[i].pattern}` ({policy.rules[i].cls}) and "
                f"`{policy.rules[j].pattern}` ({policy.rules[j].cls}) both match {common} files, "
                "and the second does not contain the first: narrow one of them.",
            )
        )
    if unknown:
        some = ", ".join(shown(p) for p in unknown[:_SHOWN])
        out.append(Finding("unclassed", f"{len(unknown)} files have no rule: add one for {some}."))
    return out


def _crossings(policy: Policy, reach: list[set[str]]) -> Iterator[tuple[int, int, int]]:
    """Overlapping rules of different classes, neither of which is contained in the other."""
    for i, earlier in enumerate(reach):
        for j in range(i + 1, len(reach)):
            if policy.rules[i].cls == policy.rules[j].cls:
                continue
            common = earlier & reach[j]
            if common and not earlier <= reach[j] and not reach[j] <= earlier:
                yield i, j, len(common)


def _git(repository: Repository) -> Iterator[Finding]:
    if repository.git.text("rev-parse", "--is-shallow-repository") == "true":
        yield Finding("shallow", "This clone is shallow: git fetch --unshallow.")
    if repository.git.succeeds("config", "--get-regexp", r"^remote\..*\.partialclonefilter$"):
        yield Finding(
            "partial",
            "This clone is partial: a forecast would download file by file. Make one without "
            "--filter.",
        )


def _remotes(repository: Repository, policy: Policy) -> Iterator[Finding]:
    remote = policy.upstream_remote
    fetch = urls(repository, remote, push=False)
    if not fetch:
        yield Finding("no-upstream", f"There is no remote `{remote}`: git remote add {remote} URL.")
        return
    for name in repository.git.lines("remote"):
        reaching = [
            url
            for url in urls(repository, name, push=True)
            if any(same_place(url, f) for f in fetch)
        ]
        if not reaching:
            continue
        cure = f"git remote set-url --push {name} DISABLED"
        if name == policy.fork_remote:
            cure = f"`{name}` must be your fork: git remote set-url {name} URL-OF-YOUR-FORK"
        yield Finding("push-url", f"`git push {name}` would reach upstream ({reaching[0]}): {cure}")


def _state(repository: Repository) -> Iterator[Finding]:
    try:
        journal = read_journal(repository.state)
    except SyncError as error:
        yield Finding("journal", str(error))
        return
    if journal is not None:
        yield Finding("unfinished", "An apply is unfinished: `ocmt sync apply --continue`.")


def _advisories(repository: Repository, policy: Policy) -> Iterator[Finding]:
    try:
        load_advisories(policy, top=repository.top, state=repository.state)
    except SyncError as error:
        yield Finding("advisories", str(error))


def _freshness(repository: Repository, policy: Policy, now: datetime) -> Iterator[Finding]:
    try:
        at = (repository.state / "fetched").stat().st_mtime
    except FileNotFoundError:
        yield Finding("stale", "Upstream was never fetched here by sync: run `ocmt sync fetch`.")
        return
    age_h = (now - datetime.fromtimestamp(at, UTC)).total_seconds() / 3600
    if age_h > policy.stale_after_h:
        yield Finding("stale", f"Upstream was fetched {age_h:.0f} h ago: run `ocmt sync fetch`.")
