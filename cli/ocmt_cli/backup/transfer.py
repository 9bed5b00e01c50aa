"""Backs up the servers' data over ssh."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from io import StringIO
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values

from ocmt_cli.backup.agents import fetch_agents
from ocmt_cli.backup.manifest import (
    Kind,
    LeftOut,
    Manifest,
    Part,
    write_manifest,
)
from ocmt_cli.backup.streams import fetch, program
from ocmt_cli.deploy.host_failures import not_ours
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.deploy.remote import Host, open_host
from ocmt_cli.failure import CommandFailed

Say = Callable[[str], None]
# Schemes of PostgreSQL's address; a driver may follow the scheme.
_POSTGRES = ("postgresql", "postgres")


class Hosts:
    """The inventory's hosts by name, each opened when it is first used and closed with `stack`.

    Opening raises `HostFailed` (`require_silent`), and `InventoryError` for an unknown name.
    """

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
    """Sign in. Raises `HostFailed`, also if the login shell prints into the output of commands."""
    done = remote.run(("true",), step="sign in", check=False, timeout_s=60)
    if done.stdout.strip():
        raise not_ours(remote.name, "sign in", done.stdout)
    if done.code != 0:
        raise remote.failure(done.code, done.stderr, "sign in")


def settings_of(remote: Host, path: PurePosixPath) -> tuple[str, dict[str, str]]:
    """A server's `.env` as text, and parsed. Raises `HostFailed` if it cannot be read."""
    text = remote.run(("cat", str(path)), step="read .env", timeout_s=60).stdout
    return text, parse_settings(text)


def parse_settings(text: str) -> dict[str, str]:
    """The settings in the text of a `.env`; of a name that is set twice, the last value."""
    read = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in read.items() if value is not None}


def data_folder(settings: Mapping[str, str]) -> PurePosixPath:
    """A server's DATA_DIR. Raises `CommandFailed` if its settings lack it."""
    if not (folder := settings.get("DATA_DIR")):
        raise CommandFailed(
            "DATA_DIR is not in the server's .env, so its data cannot be found. Set it there, then "
            "run this again."
        )
    return PurePosixPath(folder)


def database_of(settings: dict[str, str]) -> tuple[Kind, str]:
    """The kind of management's database, and the SQLite file or PostgreSQL's address.

    Raises `CommandFailed` if the settings name neither.
    """
    url = settings.get("DATABASE_URL", "")
    if not url:
        return "sqlite", str(data_folder(settings) / "management.db")
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] in _POSTGRES:
        return "postgresql", f"postgresql://{rest}"
    return "sqlite", "/" + rest.lstrip("/")


def postgres_words(program: str, url: str) -> tuple[list[str], str]:
    """A PostgreSQL program's command line, and the password, which may be empty.

    The command line lacks the password, since every user of the host can read command lines.
    """
    parts = urlsplit(url)
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    words = [program, f"--host={parts.hostname or unquote(query.get('host', 'localhost'))}"]
    words += [f"--port={parts.port or query.get('port', 5432)}"]
    words += [f"--username={unquote(parts.username or 'postgres')}"]
    words += [f"--dbname={unquote(parts.path.lstrip('/'))}", "--no-password"]
    return words, unquote(parts.password or "")


def postgres_dump(url: str) -> tuple[list[str], str]:
    """The command that dumps a database, and the password."""
    words, password = postgres_words("pg_dump", url)
    return [*words, "--format=custom", "--no-owner", "--no-privileges"], password


def backup(
    inventory: Inventory, folder: Path, *, agent_bytes: int, now: datetime, say: Say
) -> Manifest:
    """Copy every server's data and settings into the new folder `folder`.

    Leaves out an agent with more than `agent_bytes` bytes of data; the manifest lists what was left
    out. After any other failure, the incomplete folder is removed. Raises `CommandFailed`, or
    `OSError` if this machine's disk fails.
    """
    if folder.exists():
        raise CommandFailed(f"{folder} exists. Choose another name for the backup.")
    draft = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    try:
        with ExitStack() as stack:
            hosts = Hosts(inventory, stack)
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
        words, password = postgres_dump(where)
        argv, first = with_password(words), f"{password}\n".encode()
    part = fetch(remote, argv, folder / name, step=f"back up {name}", first=first)
    # PostgreSQL's address has the password, so it is only in the .env, apart from the data.
    place = where if kind == "sqlite" else ""
    env = _keep_env(inventory, host, "mgmt", folder, text)
    return [Part(name, kind, host.name, "mgmt", place, *part), env]


def _back_up_agent_server(
    inventory: Inventory, host: HostEntry, remote: Host, folder: Path, say: Say
) -> tuple[PurePosixPath, list[Part]]:
    """Back up an agent server's settings and database. Returns its data folder, and the files."""
    text, settings = settings_of(remote, inventory.component_path(host, "agent") / ".env")
    data = data_folder(settings)
    parts = [_keep_env(inventory, host, "agent", folder, text)]
    database = data / "agent.db"
    if exists(remote, database):
        say(f"{host.name}: the agent server's database")
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


def exists(remote: Host, place: PurePosixPath) -> bool:
    """Whether `place` is a file, or a folder that is not empty. Raises `HostFailed`."""
    argv, first = program("exists", str(place))
    return (
        remote.run(argv, step="check for data", stdin=first, timeout_s=60).stdout.strip() == "True"
    )


def with_password(words: Sequence[str]) -> list[str]:
    """A command that reads PGPASSWORD from the first line of its standard input."""
    return ["sh", "-c", 'IFS= read -r PGPASSWORD; export PGPASSWORD; exec "$@"', "sh", *words]
