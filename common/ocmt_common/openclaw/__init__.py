"""The pinned OpenClaw version, in `package.json` and `package-lock.json` beside this file.

Update it with `npm install --package-lock-only --omit-lockfile-registry-resolved openclaw@VERSION`
in this folder, and run all test tiers, since OpenClaw does not promise a stable protocol.
Agents' state is copied before it is first used by the new version (`ocmt_agent/upgrades`).
"""

import json
from functools import cache
from importlib import resources
from pathlib import Path


def pin_folder() -> Path:
    """The folder with the npm manifest and lock file for `npm ci`."""
    return Path(str(resources.files(__name__)))


@cache
def openclaw_version() -> str:
    """The exact OpenClaw version that OCMT installs, such as `2026.9.6`."""
    manifest = json.loads((pin_folder() / "package.json").read_text(encoding="utf-8"))
    return str(manifest["dependencies"]["openclaw"])


def default_image() -> str:
    """The local name of the image that `ocmt image build` builds."""
    return f"ocmt/openclaw:{openclaw_version()}"
