"""The settings (.env) that each release was started with, and a rollback's way back to them."""

import os
import re
import stat
from pathlib import Path

from ocmt_common.atomic_files import replacing_file

from ocmt_cli.deploy.hostside.component import Component

_KEPT = frozenset({"DATA_DIR", "DATABASE_URL", "VAULT_KEY"})
"""These tell where the data is and how it is encrypted, which a rollback does not change."""
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")


def changed_settings(component: Component) -> list[str]:
    """The names of settings that differ from those that the current release was started with."""
    current = component.current
    before = _read(component.settings_of(current)) if current else None
    now = _read(component.env_file)
    return [] if before is None or now is None else differing(before, now)


def differing(before: str, after: str) -> list[str]:
    """The names of the settings that differ between two texts."""
    old, new = _lines(before), _lines(after)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def merged(stored: str, present: str) -> str:
    """The settings `stored` in their order, with the present ones of the data."""
    data = {name: line for name, line in _lines(present).items() if name in _KEPT}
    lines: list[str] = []
    for line in stored.splitlines():
        name = _name(line)
        if name not in _KEPT:
            lines.append(line)
        elif name in data:
            lines.append(data.pop(name))
    return "".join(f"{line}\n" for line in [*lines, *data.values()])


def take_settings_back(component: Component) -> list[str]:
    """Put the settings of the release that a recorded rollback goes back to into `.env`.

    Only if the release that is left was started with others. Returns lines for the operator.
    """
    state = component.state()
    pending = state["rollback"]
    stored = _read(component.settings_of(pending["to"]))
    left = _read(component.settings_of(pending["from"])) if pending["from"] else None
    present = _read(component.env_file)
    if stored is None or left is None or present is None or stored == left:
        return []
    names = differing(present, merged(stored, present))
    if not names:
        return []
    _write(_before(component), present, like=component.env_file)
    component.save({**state, "rollback": {**pending, "settings": True}})
    _write(component.env_file, merged(stored, present), like=component.env_file)
    return [
        f"its settings go back too: {', '.join(names)} (.env as it was is in {_before(component)})"
    ]


def return_settings(component: Component) -> None:
    """Undo `take_settings_back`, if it changed anything."""
    if component.state()["rollback"].get("settings"):
        present = _read(_before(component))
        if present is not None:
            _write(component.env_file, present, like=component.env_file)


def _before(component: Component) -> Path:
    return component.path / ".env.before-rollback"


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _write(file: Path, text: str, *, like: Path) -> None:
    """Write a file with the owner and mode of `like`."""
    seen = like.stat()
    with replacing_file(file, mode=stat.S_IMODE(seen.st_mode)) as draft:
        draft.write(text.encode(errors="surrogateescape"))
        os.fchown(draft.fileno(), seen.st_uid, seen.st_gid)


def _name(line: str) -> str | None:
    found = _LINE.match(line)
    return found[1] if found else None


def _lines(text: str) -> dict[str, str]:
    return {name: line for line in text.splitlines() if (name := _name(line))}
