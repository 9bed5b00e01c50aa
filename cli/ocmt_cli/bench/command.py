"""`ocmt bench NAME`: run `bench/NAME.py` of this checkout with the options that follow.

Each benchmark is a script with its own options. It replaces this process, so that the servers that
it starts or forks do not have the command's modules in memory. Each file in `bench` is a benchmark.
"""

import ast
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import ROOT
from ocmt_cli.failure import CommandFailed

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
FOLDER = ROOT / "bench"


# `--help` after a name belongs to the benchmark.
@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="The benchmark; by default, all are listed.")
    ] = None,
) -> None:
    """Run a benchmark. The arguments after its name are passed to it, such as --json."""
    known = benchmarks(FOLDER)
    if name is None:
        say("\n".join(f"  {one:<8} {summary}" for one, summary in known.items()))
        return
    if name not in known:
        raise CommandFailed(
            f"There is no benchmark {name!r}; there are: {', '.join(known)}.", exit_code=2
        )
    os.chdir(ROOT)
    # Replace this process, so that signals reach the benchmark, which then ends its agents.
    script = str(FOLDER / f"{name}.py")
    os.execv(sys.executable, [sys.executable, script, *context.args])


def benchmarks(folder: Path) -> dict[str, str]:
    """Benchmark → the first line of its docstring, read without importing it."""
    return {path.stem: _first_line(path) for path in sorted(folder.glob("*.py"))}


def _first_line(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.partition("\n")[0].rstrip(".")
