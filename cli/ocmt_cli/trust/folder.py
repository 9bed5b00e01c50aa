"""The operator's CA folder, beside the inventory: `ocmt.secrets/` for `ocmt.toml`.

ca.key     the CA's key, never copied to a host
ca.pem     the CA
HOST.pem   a host's key and certificate, as on the host
tokens     newest first; two during a rotation
.gitignore keeps all of it out of the repository that the inventory is in
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ocmt_common.atomic_files import replace_file
from ocmt_common.console import say
from ocmt_common.file_lock import FileLock, lock, try_lock
from ocmt_common.host_credentials import CA_FILE, HOST_FILE, TOKENS_FILE, tokens_of

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.failure import CommandFailed
from ocmt_cli.trust import authority
from ocmt_cli.trust.authority import Authority, issue, needs_issuing
from ocmt_cli.trust.links import TLS_FOLDER, linked_hosts, tls_roles

_KEY_FILE = "ca.key"


@dataclass(frozen=True, slots=True)
class TrustFolder:
    """The CA and the tokens, and new files that `saved` writes."""

    path: Path
    authority: Authority
    tokens: tuple[str, ...] = field(repr=False)
    unsaved: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Name → text of the files to write."""

    def certificate(self, host: str) -> str | None:
        """A host's key and certificate; `None` if there is none.

        Raises `CommandFailed` if its file cannot be read.
        """
        if (fresh := self.unsaved.get(f"{host}.pem")) is not None:
            return fresh
        return _text(self.path / f"{host}.pem")

    def with_certificate(
        self, host: HostEntry, now: datetime, *, renewed: bool = False
    ) -> "TrustFolder":
        """The folder with a valid certificate for the host: a new one if needed or `renewed`.

        Raises `CommandFailed`.
        """
        if f"{host.name}.pem" == CA_FILE:
            raise CommandFailed(
                f"A host with a certificate cannot be named {host.name}: {self.path / CA_FILE} is "
                "the CA. Rename it in the inventory."
            )
        roles = [role for role in host.roles if role != "ui"]
        if not renewed and not needs_issuing(
            self.certificate(host.name), self.authority, address=host.address, roles=roles, now=now
        ):
            return self
        made = issue(self.authority, host=host.name, address=host.address, roles=roles, now=now)
        return replace(self, unsaved={**self.unsaved, f"{host.name}.pem": made})

    def with_tokens(self, *tokens: str) -> "TrustFolder":
        text = "".join(f"{token}\n" for token in tokens)
        return replace(self, tokens=tokens, unsaved={**self.unsaved, "tokens": text})

    def ends_at(self, hosts: Iterable[HostEntry]) -> datetime:
        """When the first of the hosts' certificates expires. At least one must have one."""
        texts = [self.certificate(host.name) or "" for host in hosts]
        return min(end for text in texts if (end := authority.ends_at(text)) is not None)

    def files(self, host: HostEntry, role: Role) -> dict[str, str]:
        """Name → text of the files in a server's TLS_DIR. The host must have a certificate."""
        tokens = self.tokens if role == "agent" else self.tokens[:1]
        return {
            HOST_FILE: self.certificate(host.name) or "",
            CA_FILE: self.authority.certificate,
            TOKENS_FILE: "".join(f"{token}\n" for token in tokens),
        }

    def saved(self) -> "TrustFolder":
        """Write the unsaved files, readable only by the operator. Returns the saved folder."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        if not (self.path / ".gitignore").exists():
            replace_file(self.path / ".gitignore", "*\n")
        for name, text in self.unsaved.items():
            replace_file(self.path / name, text)
        return replace(self, unsaved={})


def trust_path(inventory: Inventory) -> Path:
    return inventory.file.resolve().with_suffix(".secrets")


@contextmanager
def locked(inventory: Inventory) -> Iterator[None]:
    """Wait for the folder's lock: one command at a time changes it and its copies on hosts.

    Removes a folder that is still empty at the end.
    """
    path = trust_path(inventory)
    with _held(path):
        try:
            yield
        finally:
            with suppress(OSError):  # it has files
                path.rmdir()


def _held(path: Path) -> FileLock:
    while True:
        path.mkdir(mode=0o700, exist_ok=True)
        held = try_lock(path)
        if held is None:
            say("Waiting for another `./ocmt setup` or `./ocmt renew` of this inventory to finish.")
            held = lock(path)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(held.fd)):
                return held
        held.release()  # the other one removed it


def open_trust(inventory: Inventory, now: datetime) -> TrustFolder:
    """Read the folder, or create a new CA without saving it. Raises `CommandFailed`."""
    path = trust_path(inventory)
    key, certificate, tokens = (_text(path / name) for name in (_KEY_FILE, CA_FILE, TOKENS_FILE))
    if key is None and certificate is None and tokens is None:
        made = authority.new_authority(now)
        fresh = TrustFolder(path, made, (), {_KEY_FILE: made.key, CA_FILE: made.certificate})
        return fresh.with_tokens(new_token())
    if key is None or certificate is None or not tokens:
        missing = [
            name
            for name, text in ((_KEY_FILE, key), (CA_FILE, certificate), (TOKENS_FILE, tokens))
            if not text
        ]
        raise CommandFailed(f"{path} lacks {' and '.join(missing)}. {_restore(inventory)}")
    found = Authority(key, certificate)
    if wrong := authority.why_damaged(found):
        raise CommandFailed(f"The CA in {path} {wrong}. {_restore(inventory)}")
    if wrong := authority.why_not_valid(found, now):
        raise CommandFailed(
            f"The CA in {path} {wrong}, and this machine's clock shows {now:%Y-%m-%d}. Correct the "
            f"clock if it is wrong. {how_to_start_over(inventory, path)}"
        )
    try:
        return TrustFolder(path, found, tokens_of(tokens))
    except ValueError as error:
        raise CommandFailed(f"{path / TOKENS_FILE} {error}. {_restore(inventory)}") from error


def _restore(inventory: Inventory) -> str:
    """The cure for a folder that is damaged."""
    again = how_to_start_over(inventory, trust_path(inventory))
    return f"Restore the complete folder from a copy. {again}"


def how_to_start_over(inventory: Inventory, *here: Path) -> str:
    """What to remove, here and on the hosts, and what to run then, to get another CA."""
    hosts = linked_hosts(inventory)
    there = [
        f"{inventory.component_path(host, role) / TLS_FOLDER} on {host.name}"
        for host in hosts
        for role in tls_roles(inventory, host)
    ]
    setups = " and ".join(f"`{command(f'setup {host.name}')}`" for host in hosts)
    return f"To start over, remove {', '.join([*map(str, here), *there])}, then run {setups}."


def refuse_another_clock(host: HostEntry, time_there: float, now: datetime) -> None:
    """Raise `CommandFailed` if a certificate created now is not valid by the host's clock."""
    there = datetime.fromtimestamp(time_there, UTC)
    if not authority.is_valid_at(there, made=now):
        raise CommandFailed(
            f"{host.name}: its clock shows {there:%Y-%m-%d %H:%M} UTC and this machine's "
            f"{now:%Y-%m-%d %H:%M} UTC, so a certificate made now is not valid there. Correct the "
            "clock that is wrong, then run this again."
        )


def new_token() -> str:
    return secrets.token_urlsafe(48)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{file} cannot be read: {error}.") from error
