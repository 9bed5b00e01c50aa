"""Reads a host's facts and prints them as one JSON object (`setup.facts`)."""

import contextlib
import grp
import hashlib
import ipaddress
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ocmt_cli.setup.hostside.listening import listening

_STALE = ["systemctl", "show", "--property=NeedDaemonReload", "--value", "--"]


def main() -> None:
    asked = json.loads(sys.stdin.buffer.read())
    meminfo = dict(line.split(":", 1) for line in _lines("/proc/meminfo"))
    swaps = [line for line in _lines("/proc/swaps") if not line.startswith("Filename")]
    print(
        json.dumps(
            {
                "apt": shutil.which("apt-get") is not None,
                "systemd": Path("/run/systemd/system").is_dir(),
                "packages": [name for name in asked["packages"] if _installed(name)],
                "users": [name for name in asked["users"] if _is_user(name)],
                "units": [name for name in asked["units"] if _enabled(name)],
                "paths": {name: _look(name) for name in asked["paths"]},
                "texts": {name: _text(name) for name in asked["texts"]},
                "keys": _lines(asked["keys"]),
                "memory_mb": int(meminfo["MemTotal"].split()[0]) // 1024,
                "resolvers": _resolvers(),
                "swap": any(not line.startswith("/dev/zram") for line in swaps),
                "listening": listening(),
                "time": time.time(),
                "ssh_port": _ssh_port(os.environ.get("SSH_CONNECTION", "")),
                "firewall_loaded": "ocmt" in _printed(["nft", "list", "table", "inet", "ocmt"]),
                "stale_units": "yes" in _printed([*_STALE, *asked["units"]]),
            }
        )
    )


def _ssh_port(connection: str) -> int | None:
    """The host's port, the last word of SSH_CONNECTION (ssh(1)); `None` if it is missing."""
    words = connection.split()
    return int(words[3]) if len(words) == 4 and words[3].isdecimal() else None


def _installed(package: str) -> bool:
    show = ["dpkg-query", "--show", "--showformat=${Status}", package]
    return _printed(show) == "install ok installed"


def _enabled(unit: str) -> bool:
    return _printed(["systemctl", "is-enabled", unit]).strip() == "enabled"


def _printed(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def _look(name: str) -> dict[str, Any] | None:
    path = Path(name)
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    regular = stat.S_ISREG(found.st_mode)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if regular else ""
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return {"sha256": digest, "mode": stat.S_IMODE(found.st_mode), "group": group}


def _text(name: str) -> str | None:
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _lines(name: str) -> list[str]:
    return (_text(name) or "").splitlines()


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _resolvers() -> list[str]:
    found: list[object] = []
    for name in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        words = [line.split() for line in _lines(name)]
        found += [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        found += json.loads("\n".join(_lines("/etc/docker/daemon.json"))).get("dns", [])
    return sorted({one for one in map(str, found) if _is_address(one)})


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True
