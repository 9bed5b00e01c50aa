"""Counts an installation's agents by their OpenClaw version."""

import json
from collections import Counter
from pathlib import Path

from ocmt_common.container_names import instance_label
from ocmt_common.user_ids import is_home, is_user_id

from ocmt_cli.up.data_folder import DataFolder


def agents_by_version(data: DataFolder) -> dict[str, int]:
    """Version → number of agents; an image with another name counts under that name.

    Without containers, all agents have the installed version, or "unknown".
    """
    containers = _containers(data)
    if containers:
        return dict(sorted(Counter(containers).items()))
    agents = data.root / "agent" / "agents"
    there = [one for one in agents.iterdir() if one.is_dir()] if agents.is_dir() else []
    count = sum(is_user_id(one.name) or is_home(one.name) for one in there)
    return {_installed(data.openclaw): count} if count else {}


def _containers(data: DataFolder) -> list[str]:
    from ocmt_cli.engine import Engine  # noqa: PLC0415 (the HTTP client takes 0.2 s)

    engine = Engine()
    try:
        if engine.version() is None:
            return []
        filters = json.dumps({"label": [instance_label(data.root / "agent" / "agents")]})
        answer = engine.request("GET", "/containers/json", params={"filters": filters, "all": "1"})
        answer.raise_for_status()
        return [version_of_image(str(item["Image"])) for item in answer.json()]
    finally:
        engine.close()


def version_of_image(image: str) -> str:
    """The OpenClaw version in an image's name: `2026.9.6` for `ocmt/openclaw:2026.9.6`."""
    name, _, tag = image.rpartition(":")
    return tag if name.endswith("openclaw") else image


def _installed(openclaw: Path) -> str:
    manifest = openclaw / "node_modules" / "openclaw" / "package.json"
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return "unknown"
