"""A `Runtime` in memory whose OpenClaw migrates state, like the real one.

An agent's state is two files, each with the OpenClaw version that wrote it and the user's last
message.
"""

import json
from pathlib import Path

from ocmt_agent.runtime.base import AgentSpec, Endpoint
from ocmt_common.openclaw.versions import parse_version

from ocmt_testing.agent_server.fake_runtime import FakeRuntime

_FILES = ("first", "last")


class SpoiledState(Exception):
    """The state is inconsistent, or an older OpenClaw was started on it."""


def write_state(folder: Path, *, version: str, said: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        (folder / name).write_text(json.dumps([version, said]))


def read_state(folder: Path) -> tuple[str, str]:
    """`(version, message)` of a state: what wrote it last, and the last message.

    Raises `SpoiledState`.
    """
    try:
        found = {tuple(json.loads((folder / name).read_text())) for name in _FILES}
    except FileNotFoundError as error:
        raise SpoiledState(f"{folder} lacks a file of the state") from error
    if len(found) != 1:
        raise SpoiledState(f"{folder} has files of different states: {found}")
    version, said = found.pop()
    return str(version), str(said)


class MigratingRuntime(FakeRuntime):
    def __init__(self, root: Path, openclaw: str) -> None:
        super().__init__()
        self.root = root
        self.openclaw = openclaw

    async def create(self, spec: AgentSpec) -> None:
        await super().create(spec)
        (self.root / spec.user_id / "state").mkdir(parents=True, exist_ok=True)

    async def start(self, user_id: str) -> Endpoint:
        endpoint = await super().start(user_id)
        state = self.root / user_id / "state"
        said = ""
        if any(state.iterdir()):
            version, said = read_state(state)
            used, ours = parse_version(version), parse_version(self.openclaw)
            assert used is not None
            assert ours is not None
            if used > ours:
                raise SpoiledState(f"OpenClaw {self.openclaw} was started on state of {version}")
        write_state(state, version=self.openclaw, said=said)
        return endpoint
