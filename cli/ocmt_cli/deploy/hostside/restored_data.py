"""Puts a restore's data in place of the old, by renames that can be repeated after an interruption.

A restore first copies the new data beside the old (`staged`), and records in `state.json` what to
put where. From that record on, any deployer can complete the restore or withdraw it.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ocmt_common.atomic_files import replacing_file, sync_folder

from ocmt_cli.backup.hostside.no_follow import own_folder
from ocmt_cli.deploy.hostside.component import Component, StepFailed
from ocmt_cli.deploy.hostside.halting import halt

_JOURNALS = ("-wal", "-journal")
"""Files that belong to an SQLite database, and are kept with it."""
_SHARED_MEMORY = "-shm"


def begin_restore(component: Component, backup: str, record: dict[str, Any]) -> None:
    """Record a restore whose data is staged. `backup` is the time that the backup was made.

    `record` has `id`, `who`, `at`, `targets` (all of the restore's components and hosts), `data`
    (the agents' data folder), `lacking` and `moves` (`kind`, `staged` and `place`).
    """
    for move in record["moves"]:
        if not os.path.lexists(move["staged"]):
            raise StepFailed(f"{move['staged']} is missing. Run the restore again.")
    component.save({**component.state(), "restore": {**record, "backup": backup}})


def finish_restore(component: Component) -> list[str]:
    """Stop what still runs, and put the recorded data in place. Returns lines for the operator."""
    record = component.state()["restore"]
    if record is None:
        return []
    halt(component, record["data"])
    told = []
    for move in record["moves"]:
        kept = put_in_place(move, f"before-restore-{record['id']}")
        if kept is not None:
            told.append(f"the old data is kept in {kept}")
    component.end_restore()
    return told


def withdraw_restore(component: Component) -> None:
    """Remove the record of a restore that no host has completed, and its staged data."""
    record = component.state()["restore"]
    if record is None:
        return
    component.save({**component.state(), "restore": None})
    for move in record["moves"]:
        _remove(Path(move["staged"]))


def put_in_place(move: dict[str, str], ending: str) -> Path | None:
    """Put staged data in its place, if it is not there yet.

    Returns where the old data is kept; `None` if there was none, or if it stays in place.
    """
    folder = own_folder(Path(move["place"]).parent)
    staged, place = (folder / Path(move[name]).name for name in ("staged", "place"))
    kept = place.with_name(f"{place.name}.{ending}")
    if move["kind"] == "postgresql":
        return _load(staged, kept)
    if os.path.lexists(staged):
        if move["kind"] == "env" and os.path.lexists(place):
            _remove(staged)  # an existing .env belongs to the operator
            return None
        _keep(move["kind"], place, kept)
        _rename(staged, place)
        sync_folder(folder)
    return kept if os.path.lexists(kept) else None


def _keep(kind: str, place: Path, kept: Path) -> None:
    if kind == "sqlite":
        for journal in _JOURNALS:
            if os.path.lexists(f"{place}{journal}"):
                _rename(Path(f"{place}{journal}"), Path(f"{kept}{journal}"))
        Path(f"{place}{_SHARED_MEMORY}").unlink(missing_ok=True)
    if os.path.lexists(place):
        _rename(place, kept)


def _rename(old: Path, new: Path) -> None:
    old.rename(new)


def _remove(staged: Path) -> None:
    if staged.is_dir() and not staged.is_symlink():
        shutil.rmtree(staged)
        return
    for file in (staged, _commands(staged)):
        file.unlink(missing_ok=True)


def _commands(staged: Path) -> Path:
    """The file with the commands that load a staged dump; it has the database's password."""
    return staged.with_name(f"{staged.name}.json")


def _load(staged: Path, kept: Path) -> Path | None:
    """Keep a dump of the PostgreSQL database, then load the staged one in one transaction."""
    if staged.exists():
        said = json.loads(_commands(staged).read_text(encoding="utf-8"))
        environment = {**os.environ, "PGPASSWORD": said["password"]}
        if said["dump"] and not kept.exists():
            with replacing_file(kept) as draft:
                _run(said["dump"], environment, stdout=draft)
        with staged.open("rb") as dump:
            _run(said["load"], environment, stdin=dump)
    _remove(staged)
    return kept if kept.exists() else None


def _run(words: list[str], environment: dict[str, str], **pipes: Any) -> None:
    done = subprocess.run(
        words, env=environment, stderr=subprocess.PIPE, text=True, check=False, **pipes
    )
    if done.returncode != 0:
        raise StepFailed(
            f"{words[0]} failed: {done.stderr.strip()}\nThe database is unchanged. Correct that, "
            "then deploy: that completes the restore."
        )
