"""`ocmt setup HOST`: plans and makes the changes that prepare a host for deploys."""

import base64
import contextlib
import json
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import DEFAULT_FILE, HostEntry, Inventory, Role, load_inventory
from ocmt_cli.deploy.program import packed, python_argv
from ocmt_cli.deploy.remote import Host, open_host
from ocmt_cli.failure import CommandFailed
from ocmt_cli.setup.changes import Change, Install, Run, Write, is_done
from ocmt_cli.setup.facts import HostFacts, gather
from ocmt_cli.setup.host_key import ensure_known
from ocmt_cli.setup.hostside.site import Order
from ocmt_cli.setup.plan import (
    Secrets,
    asked_paths,
    asked_texts,
    asked_units,
    authorized_keys,
    packages,
    plan,
)
from ocmt_cli.setup.tls import files_for, missing_settings, refuse_another_ca
from ocmt_cli.trust.folder import TrustFolder, locked, open_trust, refuse_another_clock
from ocmt_cli.trust.links import tls_roles

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_TOKEN = re.compile(r"^(?:AGENT_)?AUTH_TOKEN=(\S+)$", re.M)
# Written by a link, which replaces no file: the facts are minutes old, and an overwritten secret
# would be lost.
_WRITE_NEW = (
    'set -e; umask 077; t=$(mktemp "$(dirname "$1")/.put.XXXXXX"); trap \'rm -f "$t"\' EXIT; '
    'cat > "$t"; chmod "$2" "$t"; sync "$t"; ln -T -- "$t" "$1" || { '
    'echo "$1 was made by another command meanwhile and is kept. Run setup again." >&2; exit 1; }'
)


@app.command()
def setup(
    host: Annotated[str, typer.Argument(help="A host of the inventory.")],
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print the changes without making them.")
    ] = False,
    host_key: Annotated[
        str, typer.Option(help="The host key's fingerprint to accept, SHA256:…")
    ] = "",
    inventory: Annotated[
        Path, typer.Option("--inventory", help="The inventory of servers.")
    ] = DEFAULT_FILE,
) -> None:
    """Prepare a server for deploys, beside its other services."""
    servers = load_inventory(inventory)
    entry = servers.host(host)
    ensure_known(servers, entry, accepted=host_key)
    remote = open_host(entry, servers.deploy)
    linked = bool(tls_roles(servers, entry))
    with contextlib.ExitStack() as stack:
        stack.callback(remote.close)
        if linked and not plan_only:
            stack.enter_context(locked(servers))
        trust = None
        if linked:
            now = datetime.now(UTC)
            trust = open_trust(servers, now).with_certificate(entry, now)
        changes = _plan(servers, entry, remote, trust)
        for change in changes:
            say(f"{host}: {change}")
        if trust is not None and trust.unsaved and not plan_only:
            trust.saved()
        if is_done(changes):
            say(f"{host}: nothing to change")
        elif not plan_only:
            _apply(remote, changes)
            say(f"{host}: set up. Next: {command('deploy --plan')}")


def _plan(
    inventory: Inventory, host: HostEntry, remote: Host, trust: TrustFolder | None
) -> list[Change]:
    facts = gather(
        remote,
        packages=[*packages(host, pulls=bool(inventory.pull.source)), "nginx", "caddy"],
        users=[inventory.deploy.service_user],
        units=asked_units(inventory, host),
        paths=asked_paths(inventory, host),
        texts=asked_texts(host),
        keys=authorized_keys(host),
    )
    tls: dict[Role, dict[str, str]] = {}
    if trust is not None:
        refuse_another_clock(host, facts.time, datetime.now(UTC))
        refuse_another_ca(inventory, host, facts, trust)
        tls = {
            role: files_for(inventory, host, role, facts, trust)
            for role in tls_roles(inventory, host)
        }
    made = Secrets(
        token=_token(inventory, host, facts, remote),
        jwt=secrets.token_urlsafe(48),
        vault=f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        tls=tls,
    )
    public = host.identity_file.with_name(f"{host.identity_file.name}.pub") if (
        host.identity_file is not None
    ) else None  # fmt: skip
    key = public.read_text(encoding="utf-8").strip() if public and public.exists() else ""
    changes = plan(facts, inventory=inventory, host=host, secrets=made, public_key=key)
    return [*changes, *missing_settings(inventory, host, facts, remote)]


def _token(inventory: Inventory, host: HostEntry, facts: HostFacts, remote: Host) -> str:
    """The token that management and agent server share on one machine: the existing or a new one.

    Empty if an existing `.env` has none. The token passes through this process, which does not
    store it. Raises `CommandFailed` if management is to have it first.
    """
    missing = [role for role in host.roles if role != "ui"]
    paths = {role: str(inventory.component_path(host, role) / ".env") for role in missing}
    there = [path for path in paths.values() if path in facts.paths]
    if there:
        return _read_token(remote, there[0])
    if tls_roles(inventory, host):
        return secrets.token_urlsafe(48)  # the servers on two hosts have one in TLS_DIR
    if "mgmt" in host.roles or "agent" not in host.roles:
        return secrets.token_urlsafe(48)
    for first in inventory.with_role("mgmt"):
        other = open_host(first, inventory.deploy)
        try:
            token = _read_token(other, str(inventory.component_path(first, "mgmt") / ".env"))
        finally:
            other.close()
        if token:
            return token
        raise CommandFailed(
            f"{host.name}: agent servers share a token with the management server, which has none "
            f"yet. First: {command(f'setup {first.name}')}"
        )
    return secrets.token_urlsafe(48)


def _read_token(remote: Host, path: str) -> str:
    done = remote.run(("cat", path), step="read the shared token", check=False, timeout_s=30)
    found = _TOKEN.search(done.stdout)
    return found[1] if done.code == 0 and found else ""


def _apply(remote: Host, changes: list[Change]) -> None:
    for change in changes:
        for step in change.steps:
            match step:
                case Write(path, text, mode, only_new=True):
                    remote.run(
                        ("sh", "-c", _WRITE_NEW, "sh", str(path), f"{mode:o}"),
                        step=change.what,
                        stdin=text.encode(),
                    )
                case Write(path, text, mode):
                    remote.put(text, path, mode=mode, step=change.what)
                case Run(argv, stdin):
                    remote.run(argv, step=change.what, stdin=stdin.encode(), timeout_s=1800)
                case Install():
                    remote.run(
                        python_argv("ocmt_cli.setup.hostside.site"),
                        step=change.what,
                        stdin=packed("setup/hostside") + json.dumps(_order(step)).encode(),
                        timeout_s=300,
                    )


def _order(step: Install) -> Order:
    return {
        "folder": str(step.folder),
        "writes": {str(write.path): write.text for write in step.writes},
        "append_to": str(step.append_to or ""),
        "line": step.line,
        "test": list(step.test),
        "must_print": step.must_print,
        "conflicts": list(step.conflicts),
        "service": step.service,
        "cure": step.cure,
    }
