"""Shows the progress of long steps that run in parallel."""

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from ocmt_common.console import say


def run_together(steps: Mapping[str, Callable[[], None]]) -> None:
    """Run independent steps in parallel, and show the name and duration of each.

    If any fail, raises the first failure once all steps have ended.
    """
    if not steps:
        return
    run = _run_on_terminal if sys.stdout.isatty() else _run_plainly
    run(steps)


def _run_plainly(steps: Mapping[str, Callable[[], None]]) -> None:
    one_line = Lock()

    def run(name: str, step: Callable[[], None]) -> None:
        with one_line:
            say(f"… {name}")
        started = time.monotonic()
        step()
        with one_line:
            say(f"✓ {name} ({time.monotonic() - started:.0f} s)")

    with ThreadPoolExecutor(len(steps)) as pool:
        running = [pool.submit(run, name, step) for name, step in steps.items()]
    for done in running:
        done.result()


def _run_on_terminal(steps: Mapping[str, Callable[[], None]]) -> None:
    from rich.progress import (  # noqa: PLC0415 (only a terminal needs it)
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"))
    with (
        Progress(*columns, TimeElapsedColumn()) as progress,
        ThreadPoolExecutor(len(steps)) as pool,
    ):

        def run(name: str, step: Callable[[], None]) -> None:
            task = progress.add_task(name, total=1)
            step()
            progress.advance(task)

        running = [pool.submit(run, name, step) for name, step in steps.items()]
    for done in running:
        done.result()
