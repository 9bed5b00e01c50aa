"""Reads OpenClaw's versions from npm with npm's own client, so that its settings apply."""

import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ocmt_cli.failure import CommandFailed
from ocmt_cli.node import node_binary, npm_program

_TIMEOUT_S = 300
# Without a network, npm retries for over a minute.
_SETTINGS = {"NO_UPDATE_NOTIFIER": "1", "npm_config_fetch_retries": "1"}
_MAX_CHANGELOG_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Offers:
    """npm's tags, and the publication date of each version."""

    tags: Mapping[str, str]
    published: Mapping[str, str]


def _npm(*arguments: str, folder: Path, doing: str) -> str:
    try:
        done = subprocess.run(
            [str(node_binary()), str(npm_program()), *arguments],
            cwd=folder, env={**_SETTINGS, **os.environ}, capture_output=True,
            text=True, errors="replace", timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(
            f"{doing} took more than {_TIMEOUT_S} s; is npm reachable?", exit_code=8
        ) from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-6:])
        raise CommandFailed(
            f"{doing} failed, so the pin could not be compared. Check the network, then run this "
            f"again.\n{said}",
            exit_code=8,
        )
    return done.stdout


def read_offers() -> Offers:
    """OpenClaw's versions on npm. Raises `CommandFailed` with exit code 8."""
    with tempfile.TemporaryDirectory(prefix="ocmt-upgrade-") as made:
        # A separate cache, since without a network npm silently answers from its cache.
        said = _npm(
            "view", "openclaw", "dist-tags", "time", "--json", "--cache", made,
            folder=Path(made), doing="Reading OpenClaw's versions from npm",
        )  # fmt: skip
    try:
        found = json.loads(said)
        published = {v: str(at) for v, at in found["time"].items() if v[:1].isdigit()}
        return Offers({str(k): str(v) for k, v in found["dist-tags"].items()}, published)
    except (ValueError, KeyError, AttributeError) as error:
        raise CommandFailed("npm's answer about OpenClaw cannot be read.", exit_code=8) from error


def read_changelog(version: str) -> str:
    """The changelog in a published package; "" if it has none. Runs none of the package's code.

    Reads at most 8 MB. Raises `CommandFailed` with exit code 8.
    """
    with tempfile.TemporaryDirectory(prefix="ocmt-upgrade-") as made:
        folder = Path(made)
        _npm(
            "pack", f"openclaw@{version}", "--ignore-scripts", "--pack-destination", made,
            folder=folder, doing=f"Reading the changes of OpenClaw {version}",
        )  # fmt: skip
        packed = next(folder.glob("*.tgz"))
        with tarfile.open(packed) as package:
            for member in package:
                if member.name == "package/CHANGELOG.md" and member.isfile():
                    content = package.extractfile(member)
                    data = content.read(_MAX_CHANGELOG_BYTES) if content else b""
                    return data.decode("utf-8", "replace")
    return ""
