"""`ocmt vault`: which key encrypts the vault, and its replacement while the servers run."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.atomic_files import replace_file
from ocmt_common.console import say
from ocmt_common.file_lock import try_lock

from ocmt_cli.checkout import DEFAULT_DATA, command
from ocmt_cli.failure import CommandFailed, explained
from ocmt_cli.management import installation, run_management
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.health import get_text
from ocmt_cli.up.run_state import read_record

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_NAME = "VAULT_KEY"
_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.2
_IN_USE = re.compile(r'^ocmt_vault_key\{id="([^"]+)"\} ([01])', re.MULTILINE)


@app.command()
def vault(
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Replace the key, while the servers run.")
    ] = False,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Show which keys encrypt the vault, or replace them by a new one."""
    folder, port = installation(data)
    if rotate:
        rotate_key(folder, port=port, report=say)
    else:
        _management(folder, "show", port=port, stdout=None)


def rotate_key(data: DataFolder, *, port: int, report: Callable[[str], None]) -> None:
    """Replace the vault's key. Raises `CommandFailed`.

    Each step can be the last: what was left undone is finished by the next run, which makes a new
    key only if none is waiting. The order loses nothing: a key is in the file before anything is
    encrypted with it, and leaves it after nothing is.
    """
    with explained(data.root):
        lock = try_lock(data.root / "vault-key.lock")
    if lock is None:
        raise CommandFailed("The vault's key is being replaced by another process. Wait for it.")
    with lock:
        entries = _entries(data)
        if len(entries) == 1:
            new = (_management(data, "new", port=port, stdout=subprocess.PIPE) or "").strip()
            entries = [new, *entries]
            _write(data, entries)
            report(f"new key {_id(new)}: in {data.management_env}, in front of the old one")
        else:
            report(f"going on with {_id(entries[0])}, which is in front of {_NAME} already")
        _server_uses(data, entries, port=port, report=report)
        _management(data, "rewrap", port=port, stdout=None)
        old = [_id(one) for one in entries[1:]]
        _write(data, entries[:1])
        _server_uses(data, entries[:1], port=port, report=report)
        report(
            f"{', '.join(old)} is no longer used or stored. Backups made before need it: it is in "
            "their keys."
        )


def _entries(data: DataFolder) -> list[str]:
    text = data.setting(data.management_env, _NAME)
    return [one for one in (part.strip() for part in text.split(",")) if one]


def _id(entry: str) -> str:
    return entry.partition(":")[0]


def _write(data: DataFolder, entries: list[str]) -> None:
    """Replace VAULT_KEY in the file, atomically."""
    file = data.management_env
    with explained(file):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        # Of several lines, the last counts.
        at = max(n for n, line in enumerate(lines) if _is_setting(line))
        lines[at] = f"{_NAME}={','.join(entries)}\n"
        replace_file(file, "".join(lines))


def _is_setting(line: str) -> bool:
    return re.match(rf"\s*(export\s+)?{_NAME}\s*=", line) is not None


def _server_uses(
    data: DataFolder, entries: list[str], *, port: int, report: Callable[[str], None]
) -> None:
    """Make the running server read its keys again. Raises `CommandFailed` if it does not."""
    wanted = [_id(one) for one in entries]
    record = read_record(data.root)
    server = None if record is None or not record.is_alive() else record.servers.get("management")
    if server is None:
        return
    with suppress(ProcessLookupError):  # it is being restarted, and will read the file
        os.kill(server.pid, signal.SIGHUP)
    deadline = time.monotonic() + _WITHIN_S
    while (seen := _in_use(port)) != wanted:
        if time.monotonic() > deadline:
            raise CommandFailed(
                f"The management server does not use {', '.join(wanted)} (it has "
                f"{', '.join(seen) or 'none'}). Nothing is lost; look at its log, then run "
                f"{command('vault --rotate', data=data.root)} again."
            )
        time.sleep(_LOOK_EVERY_S)
    report(f"the server uses {', '.join(wanted)}")


def _in_use(port: int) -> list[str]:
    """The ids of the keys that the running server has, the one that encrypts in front."""
    found = _IN_USE.findall(get_text(f"http://127.0.0.1:{port}/metrics"))
    return [key_id for key_id, _ in sorted(found, key=lambda one: one[1], reverse=True)]


def _management(data: DataFolder, action: str, *, port: int, stdout: int | None) -> str | None:
    failed = f"`vault-key {action}` failed"
    return run_management(data, "vault-key", action, port=port, stdout=stdout, failed=failed)
