"""Runs a plan's steps in order, and stops at the first failure."""

import os
import subprocess
from collections.abc import Callable

from ocmt_common.atomic_files import replace_file

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.memory.plan import Plan, Remove, Run, Step, Write

_SLOWEST_S = 1800.0  # swapoff reads everything back from the disk


def apply(plan: Plan, *, say: Callable[[str], None]) -> None:
    """Run the steps. Raises `CommandFailed` at the first that fails.

    `ocmt memory disable` can then undo those of `enable`, by the record.
    """
    for step in plan.steps:
        say(f"  {step}")
        try:
            _do(step)
        except FileNotFoundError as error:
            if not (isinstance(step, Run) and step.optional):
                raise _failed(step, error) from error
        except OSError as error:
            raise _failed(step, error) from error


def _failed(step: Step, error: OSError) -> CommandFailed:
    return CommandFailed(
        f"Failed at: {step}\n{error.strerror or error}. To undo the earlier steps: "
        f"{command('memory disable')}"
    )


def _do(step: Step) -> None:
    match step:
        case Write(path, text, mode):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text, mode=mode)
        case Remove(path):
            path.unlink(missing_ok=True)
        case Run(words, optional):
            environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
            try:
                done = subprocess.run(
                    words,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=_SLOWEST_S,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                )
            except subprocess.TimeoutExpired as error:
                raise CommandFailed(
                    _refusal(step, f"It did not end in {error.timeout:.0f} s.")
                ) from error
            if done.returncode != 0 and not optional:
                raise CommandFailed(_refusal(step, done.stderr.strip()))


def _refusal(step: Run, said: str) -> str:
    hint = f"To undo the earlier steps: {command('memory disable')}"
    if step.words[0] == "swapon":
        hint = (
            "The kernel does not accept this file as swap (containers may not allow it, and some "
            "file systems do not support it). Try another disk with --file. " + hint
        )
    elif step.words[0] == "swapoff":
        hint = "There was too little memory to read the swap back. Stop agents, then try again."
    return f"Failed at: {step}\n{said}\n{hint}"
