"""Rolls back to an earlier release on every host."""

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import Deployer
from ocmt_cli.deploy.plan import choose_rollback, may_run_on
from ocmt_cli.failure import CommandFailed


def rollback(deployer: Deployer, *, to: str | None) -> list[tuple[Role, str, str]]:
    """Roll back to `to`, or the last healthy release; returns (component, host, release).

    All targets are checked before the first is changed. The page is first and management last,
    the opposite of a deploy.
    """
    with deployer.sessions() as sessions:
        for role, name in deployer.targets():
            sessions[name].lock(role, what="rollback")
        known = deployer.each(lambda role, name: sessions[name].ask("facts", role))
        chosen: list[tuple[Role, str, str]] = []
        for role, name in reversed(deployer.targets()):
            facts = known[role, name]
            release = choose_rollback(facts, to)
            if release is None:
                others = ", ".join(facts["healthy"]) or "none"
                raise CommandFailed(
                    f"{name}: {role}: there is no healthy release "
                    f"{to or 'before the current one'}. Healthy are: {others}; see "
                    f"`{command('releases')}`."
                )
            metas = {one["release"]: one["meta"] for one in sessions[name].ask("releases", role)}
            reason = may_run_on(metas.get(release, {}), facts["contracted"])
            if reason is not None:
                raise CommandFailed(f"{name}: {role}: {release} can no longer run: {reason}.")
            chosen.append((role, name, release))
        for role, name, release in chosen:
            if known[role, name]["current"] == release and known[role, name]["settled"]:
                continue
            deployer.report(f"{name}: {role}: roll back to {release}")
            for step in ("start", "switch", "settle"):
                sessions[name].ask(step, role, release)
            if (left := known[role, name]["current"]) not in (None, release):
                sessions[name].ask("regret", role, left)
        return chosen
