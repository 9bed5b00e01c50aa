"""The git tags `deploy/COMPONENT/RELEASE`: which commit was deployed when."""

from collections.abc import Callable, Sequence

from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.plan import Step
from ocmt_cli.deploy.source import Source, git
from ocmt_cli.failure import CommandFailed


def deploy_tags(source: Source) -> list[str]:
    return git(source.checkout, "tag", "--list", "deploy/*").split()


def tag_what_runs(report: Callable[[str], None], source: Source, steps: Sequence[Step]) -> None:
    """Make missing tags of running releases, after a deploy that was killed at its end."""
    known = set(deploy_tags(source))
    for role, release in dict.fromkeys((step.role, str(step.current)) for step in steps):
        if f"deploy/{role}/{release}" not in known:
            # The commit may be missing here, if another checkout deployed it and has its tag.
            try:
                commit = git(
                    source.checkout, "rev-parse", "--verify", f"{release[-12:]}^{{commit}}"
                )
            except CommandFailed:
                continue
            tag_release(report, source, role, release, commit.strip())


def tag_release(
    report: Callable[[str], None], source: Source, role: Role, release: str, commit: str
) -> None:
    """Tag the deployed commit, and push the tag if there is an origin."""
    tag = f"deploy/{role}/{release}"
    try:
        git(source.checkout, "tag", tag, commit)
    except CommandFailed as failure:
        report(f"{release} serves, but its tag could not be made: {failure}")
        return
    if "origin" in git(source.checkout, "remote").split():
        try:
            git(source.checkout, "push", "--quiet", "origin", f"refs/tags/{tag}")
        except CommandFailed as failure:
            report(f"the tag {tag} was not pushed: {failure}")
