"""Doing the steps of a plan, one after the other; the first that fails ends it with what to do."""

import os
import subprocess
from collections.abc import Callable

from ocmt_common.atomic_files import replace_file

from ocmt_cli.failure import CommandFailed
from ocmt_cli.memory.plan import Plan, Remove, Run, Step, Write

_SLOWEST_S = 1800.0  # swapoff reads everything back, a disk's pace


def apply(plan: Plan, *, say: Callable[[str], None]) -> None:
    """Raises `CommandFailed`; what was done until then is in the record, so it can be undone."""
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
        f"Failed at: {step}\n{error.strerror or error}. Undo what was made with "
        "`ocmt memory disable`."
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
    hint = "Undo what was made with `ocmt memory disable`."
    if step.words[0] == "swapon":
        hint = (
            "The kernel does not take this file as swap (in a container it may not be allowed, and "
            "some file systems cannot hold swap). Try another disk with --file. " + hint
        )
    elif step.words[0] == "swapoff":
        hint = "Memory was too small to take it back. Stop agents, then try again."
    return f"Failed at: {step}\n{said}\n{hint}"
