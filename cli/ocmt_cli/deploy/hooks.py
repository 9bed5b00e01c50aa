"""Runs the operator's programs before and after a deploy or rollback.

They are `hooks/pre-deploy` and `hooks/post-deploy` beside the inventory. If the first one fails,
nothing is changed.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.host_connection import deployer_name
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.failure import CommandFailed


@contextmanager
def hooks(
    deployer: Deployer,
    command: str,
    targets: Sequence[tuple[Role, str]],
    more: Mapping[str, str],
) -> Iterator[None]:
    """Run the hooks around a deploy or rollback of `targets`; the second only if it succeeds.

    They get its facts in their environment. Raises `CommandFailed` if one fails.
    """
    if not targets:
        yield
        return
    facts = {
        "OCMT_COMMAND": command,
        "OCMT_COMPONENTS": ",".join(dict.fromkeys(role for role, _ in targets)),
        "OCMT_HOSTS": ",".join(dict.fromkeys(host for _, host in targets)),
        "OCMT_PERFORMER": deployer_name(),
        **more,
    }
    if (code := _run(deployer, "pre-deploy", facts)) != 0:
        raise CommandFailed(
            f"Nothing was changed: hooks/pre-deploy ended with exit code {code}. Its output is "
            "above."
        )
    began = time.monotonic()
    yield
    facts["OCMT_RUNTIME"] = f"{time.monotonic() - began:.0f}"
    if (code := _run(deployer, "post-deploy", facts)) != 0:
        raise CommandFailed(
            f"The {command} is complete, but hooks/post-deploy ended with exit code {code}. Its "
            "output is above."
        )


def _run(deployer: Deployer, name: str, facts: Mapping[str, str]) -> int:
    program = Path(deployer.inventory.file).resolve().parent / "hooks" / name
    if not program.exists():
        return 0
    deployer.report(f"hooks/{name}")
    try:
        done = subprocess.run(
            [program],
            env={**os.environ, **facts},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CommandFailed(
            f"{program} cannot be run ({error.strerror}). It must be executable and begin with a "
            "line such as #!/bin/sh."
        ) from error
    for line in done.stdout.splitlines():
        deployer.report(f"  {line}")
    return done.returncode
