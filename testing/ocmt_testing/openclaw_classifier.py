"""Runs OpenClaw's own classifier of model errors, from the installed package."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary

DISABLES = frozenset({"auth", "auth_permanent", "billing"})
"""The reasons after which OpenClaw disables an inline key (`markInlineProviderApiKeyFailure`)."""
GIVES_UP = frozenset({"format", "model_not_found"})
"""The reasons after which OpenClaw neither retries nor disables a key."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as OpenClaw receives it; `status` is `None` inside a stream."""

    shape: Literal["openai", "anthropic"]
    status: int | None
    body: str


def classified(failures: Sequence[Failure]) -> list[str | None]:
    """OpenClaw's reason for each failure, `None` if it has none."""
    lines = "".join(json.dumps(asdict(failure)) + "\n" for failure in failures)
    done = subprocess.run(
        [
            str(node_binary()),
            str(Path(__file__).with_suffix(".mjs")),
            str(installed_openclaw()),
        ],
        input=lines,
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    reasons: list[str | None] = json.loads(done.stdout)
    assert len(reasons) == len(failures)
    return reasons
