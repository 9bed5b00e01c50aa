"""Certificates on a host: the files that `ocmt setup` writes, checks, and remarks."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from ocmt_common.host_credentials import CA_FILE, HOST_FILE, TOKENS_FILE

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.deploy.remote import Host
from ocmt_cli.failure import CommandFailed
from ocmt_cli.setup.changes import Change, Run, write_if_different
from ocmt_cli.setup.facts import HostFacts
from ocmt_cli.trust import links
from ocmt_cli.trust.folder import TrustFolder, how_to_start_over

FILE_MODE = 0o640
_FOLDER_MODE = 0o2750


def asked_paths(inventory: Inventory, host: HostEntry) -> list[PurePosixPath]:
    """The paths whose facts the changes need."""
    folders = [_folder(inventory, host, role) for role in links.tls_roles(inventory, host)]
    names = (HOST_FILE, CA_FILE, TOKENS_FILE)
    return [*folders, *(folder / name for folder in folders for name in names)]


def changes(
    facts: HostFacts,
    *,
    inventory: Inventory,
    host: HostEntry,
    texts: Mapping[Role, Mapping[str, str]],
) -> Iterator[Change]:
    """The changes that write TLS_DIR, which running servers read again."""
    for role, files in texts.items():
        folder = _folder(inventory, host, role)
        runs_as_another = role == "mgmt" and host.supervisor == "systemd"
        group = inventory.deploy.service_user if runs_as_another else "root"
        found = facts.paths.get(str(folder))
        if found is None or (found.mode, found.group) != (_FOLDER_MODE, group):
            make = ("install", "-d", "-m", f"{_FOLDER_MODE:o}", "-g", group, str(folder))
            what = f"make {folder}" if found is None else f"let the server read {folder}"
            yield Change(what, (Run(make),))
        writes = tuple(
            write
            for name, text in files.items()
            if (write := write_if_different(facts, folder / name, text, FILE_MODE, group=group))
        )
        if writes:
            names = ", ".join(write.path.name for write in writes)
            yield Change(f"TLS with the other host: {names} in {folder}", writes)


def files_for(
    inventory: Inventory, host: HostEntry, role: Role, facts: HostFacts, trust: TrustFolder
) -> dict[str, str]:
    """Name → text of the files in a server's TLS_DIR.

    After an interrupted renewal, the agent server may accept only one of the two tokens, so
    management keeps the token that it sends.
    """
    files = trust.files(host, role)
    found = facts.paths.get(str(_folder(inventory, host, role) / TOKENS_FILE))
    if role == "mgmt" and found is not None:
        for text in (f"{token}\n" for token in trust.tokens):
            if found.sha256 == hashlib.sha256(text.encode()).hexdigest():
                files[TOKENS_FILE] = text
    return files


def refuse_another_ca(
    inventory: Inventory, host: HostEntry, facts: HostFacts, trust: TrustFolder
) -> None:
    """Raise `CommandFailed` if the host has another CA: it would trust no host with ours."""
    ours = hashlib.sha256(trust.authority.certificate.encode()).hexdigest()
    for role in links.tls_roles(inventory, host):
        file = _folder(inventory, host, role) / CA_FILE
        found = facts.paths.get(str(file))
        if found is not None and found.sha256 != ours:
            raise CommandFailed(
                f"{host.name}: {file} is not the CA of {trust.path}. Copy that folder from the "
                f"machine that set up the host. {how_to_start_over(inventory)}"
            )


def missing_settings(
    inventory: Inventory, host: HostEntry, facts: HostFacts, remote: Host
) -> Iterator[Change]:
    """Remarks on settings that the operator has to add to an existing `.env`."""
    for role in links.tls_roles(inventory, host):
        env = inventory.component_path(host, role) / ".env"
        if str(env) not in facts.paths:
            continue
        look = ("grep", "-q", "^TLS_DIR=", str(env))
        if remote.run(look, step="read .env", check=False, timeout_s=30).code == 0:
            continue
        lines = [*_url(inventory, host, role), *links.env_lines(inventory, host, role)]
        yield Change(f"{env}: set {', '.join(lines)} there, then run `{command('deploy')}`")


def _url(inventory: Inventory, host: HostEntry, role: Role) -> list[str]:
    if role == "mgmt":
        return [f"AGENT_SERVER_URL={links.agent_server_url(inventory, host)}"]
    return ["HOST=127.0.0.1", f"MANAGEMENT_URL={links.agents_management_url(inventory, host)}"]


def _folder(inventory: Inventory, host: HostEntry, role: Role) -> PurePosixPath:
    return inventory.component_path(host, role) / links.TLS_FOLDER
