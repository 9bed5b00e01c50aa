"""A priority queue for wakes: for users first, then for jobs, then for other reasons.

A boot takes ten seconds of CPU time, a thaw almost none. So boots and thaws have separate queues
and slots, and a thaw never waits for boots.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum

from ocmt_common.agent_api import Actor

THAW_SLOTS = 32


class Need(IntEnum):
    """The priority of a wake; lower values first."""

    USER = 0
    JOB = 1
    OTHER = 2


def need_of(who: Actor) -> Need:
    return {Actor.USER: Need.USER, Actor.JOB: Need.JOB}.get(who, Need.OTHER)


@dataclass(slots=True, eq=False)
class _Waiter:
    key: str
    need: Need
    number: int
    turn: "asyncio.Future[None]"


class WakeQueue:
    """A semaphore whose waiters are served by need, then by arrival."""

    def __init__(self, slots: int) -> None:
        self._slots = self._free = slots
        self._waiting: list[_Waiter] = []
        self._arrived = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether no slot is held."""
        return self._free == self._slots

    @asynccontextmanager
    async def turn(self, key: str, need: Need) -> AsyncIterator[None]:
        """Wait for a slot and hold it during the block."""
        await self._acquire(key, need)
        try:
            yield
        finally:
            self._release()

    def hurry(self, key: str, need: Need) -> None:
        """Raise the priority of a waiting wake."""
        for waiter in self._waiting:
            if waiter.key == key:
                waiter.need = min(waiter.need, need)

    async def _acquire(self, key: str, need: Need) -> None:
        if self._free > 0:
            self._free -= 1
            return
        self._arrived += 1
        waiter = _Waiter(key, need, self._arrived, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.turn.done() and not waiter.turn.cancelled():
                self._release()  # it got the slot in the same moment: pass it on
            raise

    def _release(self) -> None:
        while self._waiting:
            first = min(self._waiting, key=lambda w: (w.need, w.number))
            self._waiting.remove(first)
            if not first.turn.done():
                first.turn.set_result(None)
                return
        self._free += 1
