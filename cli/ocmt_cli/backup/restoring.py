"""Restores a backup: checks everything, stops the servers, then replaces their data.

Each host records the restore before its data changes, and removes the record when all data is
replaced. A host with such a record refuses deploys and rollbacks, so servers never run on data from
two points in time. Running the restore again completes it.
"""

import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath

from ocmt_cli.backup.agents import send_agents
from ocmt_cli.backup.manifest import LeftOut, Manifest, Part, read_manifest
from ocmt_cli.backup.streams import fetch, program, send
from ocmt_cli.backup.transfer import (
    Hosts,
    Say,
    database_of,
    exists,
    parse_settings,
    postgres_dump,
    postgres_words,
    settings_of,
    with_password,
)
from ocmt_cli.deploy.inventory import Inventory, Role
from ocmt_cli.deploy.remote import Host, open_host
from ocmt_cli.deploy.session import Session, deployer_name
from ocmt_cli.failure import CommandFailed

Target = tuple[str, Role]
"""A host and one of its components."""


def restore(inventory: Inventory, folder: Path, *, force: bool, say: Say) -> list[LeftOut]:
    """Restore a backup. Everything is checked before the first byte is written.

    Returns the parts of agents that were not restored: missing in the backup, or refused. Raises
    `CommandFailed` if the hosts have data and `force` is false.
    """
    manifest = read_manifest(folder)
    lacking = list(manifest.left_out)
    with ExitStack() as stack:
        hosts = Hosts(inventory, stack)
        _require_fitting(inventory, folder, manifest, hosts)
        _refuse_overwriting(inventory, manifest, hosts, force=force)
        sessions = _sessions(inventory, manifest, stack)
        _require_known_tables(folder, manifest, sessions)
        _halt(manifest, sessions, say)
        for (_, role), session in sessions.items():
            session.ask("begin_restore", role, manifest.made_at, deployer_name())
        # The settings first, since they have the databases' addresses.
        for part in sorted(manifest.parts, key=lambda part: part.kind != "env"):
            if part.kind != "files":
                say(f"{part.host}: {part.file}")
                if kept := _put_back(inventory, folder, part, hosts[part.host]):
                    say(f"{part.host}: the old database is in {kept}")
        for host, place in _agents_folders(manifest).items():
            archives = [one for one in manifest.parts if (one.host, one.kind) == (host, "files")]
            say(f"{host}: agents' state")
            aside, refused = send_agents(hosts[host], place, folder, archives)
            if aside is not None:
                say(f"{host}: the old files of agents are in {aside}")
            lacking += refused
        for (_, role), session in sessions.items():
            session.ask("end_restore", role)
    return lacking


def _targets(manifest: Manifest) -> list[Target]:
    return list(dict.fromkeys((part.host, part.role) for part in manifest.parts))


def _require_fitting(inventory: Inventory, folder: Path, manifest: Manifest, hosts: Hosts) -> None:
    """Raise `CommandFailed` unless the backup fits the hosts.

    Their `.env` must have the same paths, kind of database and vault keys, and their disks enough
    space.
    """
    for host, role in _targets(manifest):
        path = inventory.component_path(inventory.host(host), role) / ".env"
        there = exists(hosts[host], path)
        parts = [part for part in manifest.parts if (part.host, part.role) == (host, role)]
        kept = parse_settings(
            "".join((folder / part.file).read_text() for part in parts if part.kind == "env")
        )
        settings = settings_of(hosts[host], path)[1] if there else kept
        wanted = {"env": str(path), **_places(role, settings)}
        _require_same_database(role, settings, parts, path)
        for part in parts:
            if part.place != wanted.get(part.kind, part.place):
                raise CommandFailed(
                    f"{host}: {part.file} belongs in {part.place}, but the {role} server's data is "
                    f"in {wanted[part.kind]} by {path}. Set the old place there, or correct "
                    f"{folder / 'manifest.json'} if it was edited."
                )
        if lost := _keys(kept) - _keys(settings):
            names = ", ".join(sorted(key.partition(":")[0] for key in lost))
            raise CommandFailed(
                f"{host}: VAULT_KEY in {path} lacks the backup's key {names}, so the secrets in it "
                f"could not be read. Add it from {folder / 'keys' / f'{host}-{role}.env'}."
            )
        free = _free(hosts[host], wanted.get("sqlite", str(path)))
        needed = sum(part.size for part in parts)
        if free < needed:
            raise CommandFailed(
                f"{host}: {needed / 1e6:,.0f} MB are needed beside the data there, but "
                f"{free / 1e6:,.0f} MB are free. Free some space."
            )


def _require_same_database(
    role: Role, settings: Mapping[str, str], parts: Iterable[Part], path: PurePosixPath
) -> None:
    kinds = {part.kind for part in parts} & {"sqlite", "postgresql"}
    if role == "mgmt" and kinds and database_of(dict(settings))[0] not in kinds:
        titles = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
        raise CommandFailed(
            f"The backup is from {titles[kinds.pop()]}, but DATABASE_URL in {path} is another kind "
            "of database. Set it to one of the backup's kind: an empty PostgreSQL database, or "
            "nothing for SQLite."
        )


def _places(role: Role, settings: Mapping[str, str]) -> dict[str, str]:
    """Kind of part → path of a server's data, by its settings."""
    if role == "mgmt":
        kind, where = database_of(dict(settings))
        return {"sqlite": where} if kind == "sqlite" else {}
    data = PurePosixPath(settings["DATA_DIR"])
    return {"sqlite": str(data / "agent.db"), "files": str(data / "agents")}


def _keys(settings: Mapping[str, str]) -> set[str]:
    return {key.strip() for key in settings.get("VAULT_KEY", "").split(",") if key.strip()}


def _free(remote: Host, place: str) -> int:
    argv, first = program("free", place)
    return int(remote.run(argv, step="read the free space", stdin=first, timeout_s=60).stdout)


def _sessions(inventory: Inventory, manifest: Manifest, stack: ExitStack) -> dict[Target, Session]:
    """A host connection for each component to restore; locks are held until `stack` closes."""
    sessions: dict[Target, Session] = {}
    for host, role in _targets(manifest):
        entry = inventory.host(host)
        session = stack.enter_context(Session(open_host(entry, inventory.deploy), entry, inventory))
        session.lock(role, what="restore")
        sessions[host, role] = session
    return sessions


def _require_known_tables(
    folder: Path, manifest: Manifest, sessions: Mapping[Target, Session]
) -> None:
    """Raise `CommandFailed` if the backup's SQLite tables are newer than the deployed release."""
    for part in manifest.parts:
        if part.role == "mgmt" and part.kind == "sqlite":
            current = sessions[part.host, part.role].ask("status", part.role)
            known = current["meta"].get("revisions", [])
            revision = _revision(folder / part.file)
            if known and revision is not None and revision not in known:
                raise CommandFailed(
                    f"{part.host}: the backup's tables are of a newer release (revision "
                    f"{revision}) than {current['current']}, which could not read them. Deploy the "
                    "commit that the backup was made with, then restore."
                )


def _revision(database: Path) -> str | None:
    """The revision of management's tables in a backed-up database; `None` if it has none."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as opened:
            row = opened.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return None
    return str(row[0]) if row else None


def _agents_folders(manifest: Manifest) -> dict[str, str]:
    """Host → its agents' folder, including hosts without agents in the backup."""
    found: dict[str, str] = {}
    for part in manifest.parts:
        if part.role == "agent" and part.kind == "sqlite":
            found.setdefault(part.host, str(PurePosixPath(part.place).parent / "agents"))
        elif part.kind == "files":
            found[part.host] = part.place
    return found


def _halt(manifest: Manifest, sessions: Mapping[Target, Session], say: Say) -> None:
    """Stop the servers and agents whose data is in the backup."""
    agents = _agents_folders(manifest)
    for (host, role), session in sessions.items():
        say(f"{host}: {role}: stop")
        session.ask("halt", role, str(PurePosixPath(agents.get(host, "/")).parent))


def _refuse_overwriting(
    inventory: Inventory, manifest: Manifest, hosts: Hosts, *, force: bool
) -> None:
    there: list[str] = []
    places = list(_agents_folders(manifest).items())
    for part in manifest.parts:
        if part.kind == "postgresql":
            there += _postgres_tables(inventory, part, hosts[part.host])
        elif part.kind == "sqlite":
            places.append((part.host, part.place))
    for host, place in places:
        if exists(hosts[host], PurePosixPath(place)):
            there.append(f"{host}:{place}")
    if there and not force:
        raise CommandFailed(
            "A restore would replace this data:\n"
            + "\n".join(f"  {one}" for one in there)
            + "\nBack it up, then run this again with --force."
        )


def _postgres_tables(inventory: Inventory, part: Part, remote: Host) -> list[str]:
    env = inventory.component_path(inventory.host(part.host), "mgmt") / ".env"
    if not exists(remote, env):
        return []
    kind, url = database_of(settings_of(remote, env)[1])
    if kind != "postgresql":
        return []
    words, password = postgres_words("psql", url)
    words += ["--tuples-only", "--no-align", "--command", "select count(*) from pg_tables "
              "where schemaname = 'public'"]  # fmt: skip
    done = remote.run(
        with_password(words), step="check PostgreSQL", stdin=password.encode() + b"\n"
    )
    return [] if done.stdout.strip() == "0" else [f"{part.host}: PostgreSQL has tables"]


def _keep_postgres(inventory: Inventory, folder: Path, part: Part, remote: Host) -> str:
    """Dump the PostgreSQL database that is about to be replaced to this machine.

    Returns where the dump is; empty if the database has no tables.
    """
    if not _postgres_tables(inventory, part, remote):
        return ""
    env = inventory.component_path(inventory.host(part.host), "mgmt") / ".env"
    argv, first = postgres_dump(database_of(settings_of(remote, env)[1])[1])
    kept = folder.with_name(f"{folder.name}.before-restore-{time.time_ns() // 1_000_000}.pgdump")
    fetch(remote, argv, kept, step="keep the old database", first=first)
    return f"{kept} on this machine"


def _put_back(inventory: Inventory, folder: Path, part: Part, remote: Host) -> str:
    """Restore a part. Returns where the old database is kept; empty if there was none."""
    file = folder / part.file
    if part.kind == "env":
        # An existing .env belongs to the operator and is not replaced.
        if not exists(remote, PurePosixPath(part.place)):
            text = file.read_text(encoding="utf-8")
            remote.put(text, PurePosixPath(part.place), mode=0o600, step="restore .env")
    elif part.kind == "postgresql":
        env = inventory.component_path(inventory.host(part.host), "mgmt") / ".env"
        url = database_of(settings_of(remote, env)[1])[1]
        kept = _keep_postgres(inventory, folder, part, remote)
        words, password = postgres_words("pg_restore", url)
        words += ["--clean", "--if-exists", "--no-owner", "--single-transaction"]
        first = f"{password}\n".encode()
        send(remote, with_password(words), file, step=f"restore {file.name}", first=first)
        return kept
    else:
        argv, first = program("restore-database", part.place)
        return send(remote, argv, file, step=f"restore {file.name}", first=first)
    return ""
