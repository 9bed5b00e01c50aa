"""Backs up and restores over the deploy's transport."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from io import StringIO
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values

from ocmt_cli.backup.agents import fetch_agents, send_agents
from ocmt_cli.backup.manifest import (
    Kind,
    LeftOut,
    Manifest,
    Part,
    read_manifest,
    write_manifest,
)
from ocmt_cli.backup.streams import fetch, program, send
from ocmt_cli.deploy.host_failures import not_ours
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.deploy.remote import Host, open_host
from ocmt_cli.deploy.session import Session
from ocmt_cli.failure import CommandFailed

Say = Callable[[str], None]
# postgresql://…, with or without the servers' driver.
_POSTGRES = ("postgresql", "postgres")


class _Hosts:
    def __init__(self, inventory: Inventory, stack: ExitStack) -> None:
        self._inventory = inventory
        self._stack = stack
        self._open: dict[str, Host] = {}

    def __getitem__(self, name: str) -> Host:
        if name not in self._open:
            remote = open_host(self._inventory.host(name), self._inventory.deploy)
            self._stack.callback(remote.close)
            require_silent(remote)
            self._open[name] = remote
        return self._open[name]


def require_silent(remote: Host) -> None:
    """Raise `HostFailed` if the host prints into the output of commands, and so into a backup."""
    done = remote.run(("true",), step="sign in", check=False, timeout_s=60)
    if done.stdout.strip():
        raise not_ours(remote.name, "sign in", done.stdout)
    if done.code != 0:
        raise remote.failure(done.code, done.stderr, "sign in")


def settings_of(remote: Host, path: PurePosixPath) -> tuple[str, dict[str, str]]:
    """A server's `.env`, as text and parsed. Raises `HostFailed` when it does not exist."""
    text = remote.run(("cat", str(path)), step="read .env", timeout_s=60).stdout
    read = dotenv_values(stream=StringIO(text), interpolate=False)
    return text, {name: value for name, value in read.items() if value is not None}


def database_of(settings: dict[str, str]) -> tuple[Kind, str]:
    """Management's database: its kind, and the SQLite file or PostgreSQL's address."""
    url = settings.get("DATABASE_URL", "")
    if not url:
        return "sqlite", f"{settings['DATA_DIR']}/management.db"
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] in _POSTGRES:
        return "postgresql", f"postgresql://{rest}"
    return "sqlite", "/" + rest.lstrip("/")


def postgres_words(program: str, url: str) -> tuple[list[str], str]:
    """A command line and the password, kept apart, since every user can read the process list."""
    parts = urlsplit(url)
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    words = [program, f"--host={parts.hostname or unquote(query.get('host', 'localhost'))}"]
    words += [f"--port={parts.port or query.get('port', 5432)}"]
    words += [f"--username={unquote(parts.username or 'postgres')}"]
    words += [f"--dbname={unquote(parts.path.lstrip('/'))}", "--no-password"]
    return words, unquote(parts.password or "")


def backup(
    inventory: Inventory, folder: Path, *, agent_bytes: int, now: datetime, say: Say
) -> Manifest:
    """Copy every server's data and settings into the new folder `folder`.

    Of each agent at most `agent_bytes`; the manifest lists what was left out of single agents.
    Raises `CommandFailed` for any other failure, and removes the incomplete folder.
    """
    if folder.exists():
        raise CommandFailed(f"{folder} exists. Choose another name for the backup.")
    draft = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    try:
        with ExitStack() as stack:
            hosts = _Hosts(inventory, stack)
            parts: list[Part] = []
            left_out: list[LeftOut] = []
            for host in inventory.with_role("mgmt"):
                parts += _back_up_management(inventory, host, hosts[host.name], draft, say)
            for host in inventory.with_role("agent"):
                remote = hosts[host.name]
                data, found = _back_up_agent_server(inventory, host, remote, draft, say)
                say(f"{host.name}: agents' state")
                place = str(data / "agents")
                archives, lacking = fetch_agents(remote, place, draft, data_bytes=agent_bytes)
                parts += [*found, *archives]
                left_out += lacking
        made_at = now.isoformat(timespec="seconds")
        manifest = Manifest(made_at, tuple(parts), tuple(left_out))
        write_manifest(draft, manifest)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


def _back_up_management(
    inventory: Inventory, host: HostEntry, remote: Host, folder: Path, say: Say
) -> list[Part]:
    text, settings = settings_of(remote, inventory.component_path(host, "mgmt") / ".env")
    kind, where = database_of(settings)
    say(f"{host.name}: management's database ({kind})")
    name = f"data/{host.name}-management.{'db' if kind == 'sqlite' else 'pgdump'}"
    if kind == "sqlite":
        argv, first = program("dump-database", where)
    else:
        words, password = postgres_words("pg_dump", where)
        words += ["--format=custom", "--no-owner", "--no-privileges"]
        argv, first = _with_password(words), f"{password}\n".encode()
    part = fetch(remote, argv, folder / name, step=f"back up {name}", first=first)
    # PostgreSQL's address contains the password, so it stays in the .env, apart from the data.
    place = where if kind == "sqlite" else ""
    env = _keep_env(inventory, host, "mgmt", folder, text)
    return [Part(name, kind, host.name, "mgmt", place, *part), env]


def _back_up_agent_server(
    inventory: Inventory, host: HostEntry, remote: Host, folder: Path, say: Say
) -> tuple[PurePosixPath, list[Part]]:
    """Back up its settings and database. Returns its data folder, and the files."""
    text, settings = settings_of(remote, inventory.component_path(host, "agent") / ".env")
    data = PurePosixPath(settings["DATA_DIR"])
    parts = [_keep_env(inventory, host, "agent", folder, text)]
    database = data / "agent.db"
    if _exists(remote, database):
        say(f"{host.name}: agent server's database")
        name = f"data/{host.name}-agent.db"
        argv, first = program("dump-database", str(database))
        found = fetch(remote, argv, folder / name, step=f"back up {name}", first=first)
        parts.append(Part(name, "sqlite", host.name, "agent", str(database), *found))
    return data, parts


def _keep_env(inventory: Inventory, host: HostEntry, role: Role, folder: Path, text: str) -> Part:
    name = f"keys/{host.name}-{role}.env"
    file = folder / name
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    place = str(inventory.component_path(host, role) / ".env")
    return Part(name, "env", host.name, role, place, sha256, file.stat().st_size)


def restore(inventory: Inventory, folder: Path, *, force: bool, say: Say) -> list[LeftOut]:
    """Restore a backup. Everything is checked before the first byte is written.

    Returns the parts of single agents that were not restored: missing in the backup, or refused.
    Raises `CommandFailed` when there is data already and not `force`.
    """
    manifest = read_manifest(folder)
    lacking = list(manifest.left_out)
    with ExitStack() as stack:
        hosts = _Hosts(inventory, stack)
        _refuse_overwriting(inventory, manifest, hosts, force=force)
        _halt(inventory, manifest, stack, say)
        # The settings first: they have the databases' addresses.
        for part in sorted(manifest.parts, key=lambda part: part.kind != "env"):
            if part.kind != "files":
                say(f"{part.host}: {part.file}")
                _put_back(inventory, folder, part, hosts[part.host])
        for host, place in _agents_folders(manifest).items():
            archives = [one for one in manifest.parts if (one.host, one.kind) == (host, "files")]
            say(f"{host}: agents' state")
            aside, refused = send_agents(hosts[host], place, folder, archives)
            if aside is not None:
                say(f"{host}: the old files of agents are in {aside}")
            lacking += refused
    return lacking


def _agents_folders(manifest: Manifest) -> dict[str, str]:
    """Host → its folder of agents, also of hosts without agents in the backup."""
    found: dict[str, str] = {}
    for part in manifest.parts:
        if part.role == "agent" and part.kind == "sqlite":
            found.setdefault(part.host, str(PurePosixPath(part.place).parent / "agents"))
        elif part.kind == "files":
            found[part.host] = part.place
    return found


def _halt(inventory: Inventory, manifest: Manifest, stack: ExitStack, say: Say) -> None:
    """Stop the servers and agents, and hold the deploy locks until `stack` is closed."""
    agents = _agents_folders(manifest)
    for host, role in dict.fromkeys((part.host, part.role) for part in manifest.parts):
        entry = inventory.host(host)
        session = stack.enter_context(Session(open_host(entry, inventory.deploy), entry, inventory))
        session.lock(role, what="restore")
        say(f"{host}: {role}: stop")
        session.ask("halt", role, str(PurePosixPath(agents.get(host, "/")).parent))


def _refuse_overwriting(
    inventory: Inventory, manifest: Manifest, hosts: _Hosts, *, force: bool
) -> None:
    there: list[str] = []
    places = list(_agents_folders(manifest).items())
    for part in manifest.parts:
        if part.kind == "postgresql":
            there += _postgres_tables(inventory, part, hosts[part.host])
        elif part.kind == "sqlite":
            places.append((part.host, part.place))
    for host, place in places:
        if _exists(hosts[host], PurePosixPath(place)):
            there.append(f"{host}:{place}")
    if there and not force:
        raise CommandFailed(
            "A restore would replace this data:\n"
            + "\n".join(f"  {one}" for one in there)
            + "\nBack it up, then run this again with --force."
        )


def _postgres_tables(inventory: Inventory, part: Part, remote: Host) -> list[str]:
    env = inventory.component_path(inventory.host(part.host), "mgmt") / ".env"
    if not _exists(remote, env):
        return []
    kind, url = database_of(settings_of(remote, env)[1])
    if kind != "postgresql":
        return []
    words, password = postgres_words("psql", url)
    words += ["--tuples-only", "--no-align", "--command", "select count(*) from pg_tables "
              "where schemaname = 'public'"]  # fmt: skip
    done = remote.run(
        _with_password(words), step="check PostgreSQL", stdin=password.encode() + b"\n"
    )
    return [] if done.stdout.strip() == "0" else [f"{part.host}: PostgreSQL has tables"]


def _put_back(inventory: Inventory, folder: Path, part: Part, remote: Host) -> None:
    file = folder / part.file
    if part.kind == "env":
        # An existing .env belongs to the operator and is not replaced.
        if not _exists(remote, PurePosixPath(part.place)):
            text = file.read_text(encoding="utf-8")
            remote.put(text, PurePosixPath(part.place), mode=0o600, step="restore .env")
    elif part.kind == "postgresql":
        env = inventory.component_path(inventory.host(part.host), "mgmt") / ".env"
        kind, url = database_of(settings_of(remote, env)[1])
        if kind != "postgresql":
            raise CommandFailed(
                f"{part.host}: the backup is from PostgreSQL, but DATABASE_URL in {env} is not a "
                "PostgreSQL address. Set it to an empty PostgreSQL database."
            )
        words, password = postgres_words("pg_restore", url)
        words += ["--clean", "--if-exists", "--no-owner", "--single-transaction"]
        first = f"{password}\n".encode()
        send(remote, _with_password(words), file, step=f"restore {file.name}", first=first)
    else:
        argv, first = program("restore-database", part.place)
        send(remote, argv, file, step=f"restore {file.name}", first=first)


def _with_password(words: Sequence[str]) -> list[str]:
    """A command that reads PGPASSWORD from the first line of its standard input."""
    return ["sh", "-c", 'IFS= read -r PGPASSWORD; export PGPASSWORD; exec "$@"', "sh", *words]


def _exists(remote: Host, place: PurePosixPath) -> bool:
    argv, first = program("exists", str(place))
    return remote.run(argv, step="look", stdin=first, timeout_s=60).stdout.strip() == "True"
