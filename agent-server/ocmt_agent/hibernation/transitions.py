"""Runs transitions, one at a time per agent, to their end even if the caller is cancelled.

A transition is a task of this server, not of the request that caused it, so that a disconnected
caller leaves no agent half awake.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from ocmt_common.problems import Problem

from ocmt_agent.records.agent import Agent

log = structlog.get_logger(__name__)

T = TypeVar("T")


class TransitionRunner:
    """Owns the tasks of all transitions, and holds the agents' locks for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end even if the caller is cancelled."""
        return await asyncio.shield(self.start(work))

    async def run_locked(self, agent: Agent, work: Callable[[], Awaitable[T]]) -> T:
        """Like `run`, with the agent's lock held."""

        async def locked() -> T:
            async with agent.lock:
                return await work()

        return await self.run(locked())

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Problem):  # a Problem is recorded already
            log.error("transition failed", exc_info=error)

    async def close(self) -> None:
        """Cancel all transitions; the next start reconciles the agents with the runtime."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
