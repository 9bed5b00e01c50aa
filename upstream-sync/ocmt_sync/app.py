"""`ocmt sync` as the command line starts it: quick where the answer is known already.

Building all the options of all the commands takes Typer 0.3 s; the answer of a `status` since which
nothing has changed takes a third of that. So `status`, the one command that scripts and prompts run
all day, is tried first; everything else is the full command's (`ocmt_sync.commands`).
"""

import sys
from collections.abc import Sequence
from typing import Any

from typer import Typer
from typer.core import TyperGroup
from typer.main import get_command


class _Group(TyperGroup):
    """The full command behind a first look."""

    def _full(self) -> Any:
        from ocmt_sync.commands import sync_app as full  # noqa: PLC0415 (what this saves)

        return get_command(full)

    @property
    def commands(self) -> Any:
        return self._full().commands

    @commands.setter
    def commands(self, _: Any) -> None:
        """The full command has them."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        words = sys.argv[1:] if args is None else args
        if (folder := _asks_for_status(words)) is not None:
            from ocmt_sync.quick import say_known_status  # noqa: PLC0415 (as above)

            if say_known_status(folder, as_json="--json" in words):
                return 0
        return self._full().main(words, *rest, **options)


def _asks_for_status(words: Sequence[str]) -> str | None:
    """The folder, when these are the words of a plain `status`."""
    folder, rest = ".", list(words)
    if rest[:1] == ["--repo"] and len(rest) > 1:
        folder, rest = rest[1], rest[2:]
    return folder if rest in (["status"], ["status", "--json"]) else None


sync_app = Typer(cls=_Group, add_completion=False, pretty_exceptions_enable=False)


@sync_app.callback()
def _follow() -> None:
    """Follow an upstream: what is new, what matters, what conflicts."""
