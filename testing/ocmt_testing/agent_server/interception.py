"""Makes the nth call to the runtime or a gateway hang forever or fail.

The call is intercepted before or after its effect, since a request or its answer can be lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from ocmt_agent.hibernation.assembly import Hibernation

When = Literal["before", "after"]
_PASSED = {"whereabouts", "events", "observe_all", "problems", "close", "relay_host"}
"""Calls outside of transitions."""


_REACHES = ("_runtime", "_gateway")


@dataclass
class Interception:
    at: int
    """The number of the call, from 1."""
    when: When
    fails: dict[str, Exception] | None = None
    """Called object (`runtime`, `gateway`) → error; `None` to hang."""
    armed: bool = False
    count: int = 0
    cut: str | None = None
    """The name of the intercepted call."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def around(self, whose: str, target: Any) -> Any:
        """`target` with its calls counted and intercepted."""
        return _Proxy(self, whose, target)

    @contextmanager
    def into(self, hibernation: Hibernation) -> Iterator[None]:
        """Intercept the calls of the server's transitions during the block."""
        parts = (
            hibernation.wakes,
            hibernation.resumer,
            hibernation.suspender,
            hibernation.reconciler,
            hibernation.wakes._states,
        )
        kept = [
            (part, name, getattr(part, name))
            for part in parts
            for name in _REACHES
            if hasattr(part, name)
        ]
        for part, name, value in kept:
            setattr(part, name, self.around(name.removeprefix("_"), value))
        try:
            yield
        finally:
            for part, name, value in kept:
                setattr(part, name, value)

    async def call(self, whose: str, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if not self.armed:
            return await work()
        self.count += 1
        if self.count != self.at:
            return await work()
        self.cut = name
        if self.when == "after":
            await work()
        self.reached.set()
        if self.fails is None:
            await asyncio.Event().wait()
        if name in ("is_live", "is_started"):
            return False
        assert self.fails is not None
        raise self.fails[whose]


class _Proxy:
    def __init__(self, interception: Interception, whose: str, target: Any) -> None:
        self._interception, self._whose, self._target = interception, whose, target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name in _PASSED or not asyncio.iscoroutinefunction(value):
            return value

        async def called(*args: Any, **kwargs: Any) -> Any:
            return await self._interception.call(self._whose, name, lambda: value(*args, **kwargs))

        return called
