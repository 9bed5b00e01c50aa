"""Restores a backup: checks everything, copies it beside the old data, then switches all hosts.

Until the switch, the servers run on the old data, and a failure changes nothing. An interrupted
switch is completed or withdrawn by the next command (`deploy.restores`), so servers never run on
data from two points in time.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ocmt_cli.backup.agents import stage_agents
from ocmt_cli.backup.manifest import LeftOut, Manifest, Part, read_manifest
from ocmt_cli.backup.streams import program, send
from ocmt_cli.backup.transfer import (
    Hosts,
    Say,
    data_folder,
    database_of,
    exists,
    parse_settings,
    postgres_dump,
    postgres_words,
    settings_of,
    with_password,
)
from ocmt_cli.deploy.host_connection import HostConnection, deployer_name
from ocmt_cli.deploy.inventory import Inventory, Role
from ocmt_cli.deploy.remote import Host, open_host
from ocmt_cli.deploy.restores import facts_after_restores, switch_data, unfinished_restores
from ocmt_cli.deploy.rollback_plan import Facts
from ocmt_cli.failure import CommandFailed

Target = tuple[Role, str]
"""A component and its host."""
Move = dict[str, str]
"""`kind`, `staged` and `place` of new data (`deploy.hostside.restored_data`)."""


def restore(inventory: Inventory, folder: Path, *, force: bool, say: Say) -> list[LeftOut]:
    """Restore a backup. Everything is checked before the first byte is written.

    Returns the parts of agents that were not restored: missing in the backup, or refused. Raises
    `CommandFailed`, also if the hosts have data and `force` is false. A failure leaves the old
    data, or a restore that the next deploy, rollback or restore completes or withdraws.
    """
    manifest = read_manifest(folder)
    lacking = list(manifest.left_out)
    with ExitStack() as stack:
        hosts = Hosts(inventory, stack)
        _require_fitting(inventory, folder, manifest, hosts)
        _refuse_overwriting(inventory, manifest, hosts, force=force)
        connections = _connections(inventory, manifest, stack)
        facts = _completed(manifest, connections, say)
        if facts is None:
            return lacking
        _require_known_tables(folder, manifest, facts)
        moves: dict[Target, list[Move]] = {target: [] for target in _targets(manifest)}
        for part in manifest.parts:
            if part.kind != "files":
                say(f"{part.host}: copy {part.file}")
                move = _stage(inventory, folder, manifest, part, hosts[part.host])
                moves[part.role, part.host].append(move)
        for host, place in _agents_folders(manifest).items():
            archives = [one for one in manifest.parts if (one.host, one.kind) == (host, "files")]
            say(f"{host}: copy the agents' state")
            staged, refused = stage_agents(hosts[host], place, folder, archives)
            moves["agent", host].append({"kind": "files", "staged": staged, "place": place})
            lacking += refused
        switch_data(connections, _records(manifest, moves, lacking), say)
    return lacking


def _completed(
    manifest: Manifest, connections: Mapping[str, HostConnection], say: Say
) -> Facts | None:
    """The hosts' facts, after completing or withdrawing an earlier restore.

    `None` if that completed a restore of this same backup.
    """
    targets = _targets(manifest)

    def read() -> Facts:
        return {(role, host): connections[host].ask("status", role) for role, host in targets}

    before = unfinished_restores(read())
    facts = facts_after_restores(connections, read, say)
    same = [
        facts[target]["restored"] == record["id"]
        for target, record in before.items()
        if record["backup"] == manifest.made_at
    ]
    return None if same and all(same) else facts


def _records(
    manifest: Manifest, moves: Mapping[Target, list[Move]], lacking: Iterable[LeftOut]
) -> dict[Target, dict[str, Any]]:
    agents = _agents_folders(manifest)
    shared = {
        "id": str(time.time_ns() // 1_000_000),
        "backup": manifest.made_at,
        "who": deployer_name(),
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "targets": [list(target) for target in moves],
        "lacking": [str(one) for one in lacking],
    }
    return {
        (role, host): {
            **shared,
            "data": str(PurePosixPath(agents.get(host, "/")).parent),
            "moves": moves[role, host],
        }
        for role, host in moves
    }


def _targets(manifest: Manifest) -> list[Target]:
    return list(dict.fromkeys((part.role, part.host) for part in manifest.parts))


def _require_fitting(inventory: Inventory, folder: Path, manifest: Manifest, hosts: Hosts) -> None:
    """Raise `CommandFailed` unless the backup fits the hosts.

    Their `.env` must have the same paths, kind of database and vault keys, and their disks enough
    space.
    """
    for role, host in _targets(manifest):
        path = inventory.component_path(inventory.host(host), role) / ".env"
        parts = [part for part in manifest.parts if (part.host, part.role) == (host, role)]
        kept = _kept_settings(folder, manifest, (role, host))
        settings = _settings(inventory, folder, manifest, (role, host), hosts[host])
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


def _settings(
    inventory: Inventory, folder: Path, manifest: Manifest, target: Target, remote: Host
) -> dict[str, str]:
    """The settings of a server: those on its host, else the backup's."""
    role, host = target
    path = inventory.component_path(inventory.host(host), role) / ".env"
    if exists(remote, path):
        return settings_of(remote, path)[1]
    return _kept_settings(folder, manifest, target)


def _kept_settings(folder: Path, manifest: Manifest, target: Target) -> dict[str, str]:
    """The settings of a server in the backup; empty if it has none."""
    return parse_settings(
        "".join(
            (folder / part.file).read_text(encoding="utf-8")
            for part in manifest.parts
            if (part.role, part.host) == target and part.kind == "env"
        )
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
    data = data_folder(settings)
    return {"sqlite": str(data / "agent.db"), "files": str(data / "agents")}


def _keys(settings: Mapping[str, str]) -> set[str]:
    return {key.strip() for key in settings.get("VAULT_KEY", "").split(",") if key.strip()}


def _free(remote: Host, place: str) -> int:
    argv, first = program("free", place)
    return int(remote.run(argv, step="read the free space", stdin=first, timeout_s=60).stdout)


def _connections(
    inventory: Inventory, manifest: Manifest, stack: ExitStack
) -> dict[str, HostConnection]:
    """Host connections, with the locks of the components to restore until `stack` ends."""
    connections: dict[str, HostConnection] = {}
    for role, host in _targets(manifest):
        if host not in connections:
            entry = inventory.host(host)
            connection = HostConnection(open_host(entry, inventory.deploy), entry, inventory)
            connections[host] = stack.enter_context(connection)
        connections[host].lock(role, what="restore")
    return connections


def _require_known_tables(folder: Path, manifest: Manifest, facts: Facts) -> None:
    """Raise `CommandFailed` if the backup's SQLite tables are newer than the deployed release."""
    for part in manifest.parts:
        if part.role == "mgmt" and part.kind == "sqlite":
            current = facts[part.role, part.host]
            known = current["meta"].get("revisions", [])
            revision = _revision(folder / part.file)
            if known and revision is not None and revision not in known:
                raise CommandFailed(
                    f"{part.host}: the backup's tables are of a newer release (revision "
                    f"{revision}) than {current['current']}, which could not read them. Deploy the "
                    "commit that the backup was made with, then restore."
                )


def _revision(database: Path) -> str | None:
    """The revision of management's tables in a backed-up database; `None` if it is unreadable."""
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


def _stage(
    inventory: Inventory, folder: Path, manifest: Manifest, part: Part, remote: Host
) -> Move:
    """Copy a part to its host, beside its place."""
    step = "stage-database" if part.kind == "sqlite" else "stage-file"
    place = part.place or _dump_place(inventory, part)
    if part.kind == "postgresql":
        _stage_commands(inventory, folder, manifest, part, remote)
    argv, first = program(step, place)
    staged = send(remote, argv, folder / part.file, step=f"copy {part.file}", first=first)
    return {"kind": part.kind, "staged": staged, "place": place}


def _dump_place(inventory: Inventory, part: Part) -> str:
    """The path beside which a PostgreSQL dump is staged, and a dump of the old database kept."""
    return str(inventory.component_path(inventory.host(part.host), "mgmt") / "management.pgdump")


def _stage_commands(
    inventory: Inventory, folder: Path, manifest: Manifest, part: Part, remote: Host
) -> None:
    """Write the commands that keep the old PostgreSQL database and load the new one."""
    url = database_of(_settings(inventory, folder, manifest, (part.role, part.host), remote))[1]
    words, password = postgres_words("pg_restore", url)
    load = [*words, "--clean", "--if-exists", "--no-owner", "--single-transaction"]
    dump = postgres_dump(url)[0] if _postgres_tables(inventory, part, remote) else []
    text = json.dumps({"load": load, "dump": dump, "password": password})
    place = PurePosixPath(_dump_place(inventory, part))
    file = place.with_name(f".{place.name}.restore.json")
    remote.put(text, file, mode=0o600, step="copy the database's commands")
