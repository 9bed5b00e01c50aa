"""One user's tool server: started by a call, and stopped when idle.

At most one container serves its calls. An idle stop never interrupts a call, since there is no
await between the check for use and the stop.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from math import ceil
from typing import Any

import structlog
from ocmt_common.agent_api import ToolServer, ToolServerDefinition, ToolServerState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable
from ocmt_agent.tool_servers.containers import Launch, Package, PackageRefused, ToolContainers
from ocmt_agent.tool_servers.output import MIB, MOST_ANSWER_BYTES
from ocmt_agent.tool_servers.packages import Packages
from ocmt_agent.tool_servers.stdio_session import (
    AnswerTooLarge,
    SessionEnded,
    StdioSession,
    TimedOut,
)

log = structlog.get_logger(__name__)

IDLE_S = 300.0
_ANSWERS_WITHIN_S = 110.0
"""Below the agent's own timeout of 120 s."""
_INITIALIZES_WITHIN_S = 30.0
_MOST_AT_ONCE = 16
_LONGEST_WAIT_S = 60.0


class UserToolServer:
    def __init__(
        self,
        definition: ToolServerDefinition,
        *,
        user_id: str,
        server_id: str,
        number: int,
        containers: ToolContainers,
        packages: Packages,
        has_room: Callable[[], bool],
        clock: Clock,
        answers_within_s: float = _ANSWERS_WITHIN_S,
    ) -> None:
        self.definition = definition
        self._launch = Launch(
            user_id,
            server_id,
            number,
            Package.of(definition),
            tuple(definition.arguments),
            dict(definition.environment),
        )
        self._containers = containers
        self._packages = packages
        self._has_room = has_room
        self._clock = clock
        self._answers_within_s = answers_within_s
        self._session: StdioSession | None = None
        self._starting: asyncio.Task[StdioSession] | None = None
        self._ending: set[asyncio.Task[Any]] = set()
        self._in_use = 0
        self._used_at_s = clock.monotonic()
        self._running_since: datetime | None = None
        self._failure: Problem | None = None
        self._failures = 0
        """Failures in a row, without an answer in between."""
        self._again_at_s = 0.0
        """The monotonic time before which the server is not started again."""
        self._last_output: list[str] = []
        self._closed = False

    def shown(self) -> ToolServer:
        state, session = self.state(), self._session
        return ToolServer(
            server_id=self._launch.server_id,
            package=self._launch.package.name,
            version=self._launch.package.version,
            state=state,
            reason=None if session or self._failure is None else self._failure.detail,
            last_output=session.last_output if session else self._last_output,
            running_since=self._running_since if session else None,
        )

    def state(self) -> ToolServerState:
        self._note_end()
        if self._session is not None:
            return ToolServerState.RUNNING
        if self._starting is not None:
            installing = self._packages.is_installing(self._launch.package)
            return ToolServerState.INSTALLING if installing else ToolServerState.STARTING
        return ToolServerState.STOPPED if self._failure is None else ToolServerState.FAILED

    async def initialize(self) -> bytes:
        """The server's raw result of `initialize`. Starts the server if needed.

        Raises `Problem`.
        """
        with self._used():
            return (await self._ready()).initialized

    async def request(self, method: str, params: bytes | None) -> bytes:
        """The raw outcome of a request: `"result":…` or `"error":…`. Starts the server if needed.

        Raises `Problem` with the reason if there is no outcome.
        """
        if self._in_use >= _MOST_AT_ONCE:
            raise Problem(
                429,
                "tool-server-busy",
                f"{self._name} has {_MOST_AT_ONCE} calls in progress. Wait for one of them.",
                retry_after_s=1,
            )
        with self._used():
            session = await self._ready()
            try:
                outcome = await session.request(method, params, within_s=self._answers_within_s)
            except SessionEnded as error:
                self._note_end()
                raise self._failed(str(error), session.last_output) from error
            except TimedOut as error:
                raise Problem(
                    504,
                    "tool-server-timeout",
                    f"{self._name} did not answer this call within {self._answers_within_s:g} s. "
                    "Ask for less, or try again.",
                ) from error
            except AnswerTooLarge as error:
                raise Problem(
                    502,
                    "tool-answer-too-large",
                    f"{self._name} answered with more than {MOST_ANSWER_BYTES // MIB} MB. Ask for "
                    "less.",
                ) from error
            self._failures, self._failure = 0, None
            return outcome

    def stop_if_idle(self) -> None:
        """Stop the server in the background if it has been idle for `IDLE_S`."""
        self._note_end()
        idle_s = self._clock.monotonic() - self._used_at_s
        if self._session is None or self._in_use or idle_s < IDLE_S:
            return
        session, self._session = self._session, None
        self._last_output = []
        self._in_background(session.end("it was idle"))

    async def close(self, reason: str) -> None:
        """End the server for good; calls in progress fail, those that it runs with `reason`."""
        self._closed = True
        session, self._session = self._session, None
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if session is not None:
            await session.end(reason)
        await asyncio.gather(*self._ending, return_exceptions=True)

    @property
    def _name(self) -> str:
        return f"The tool server {self._launch.package.name}"

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        self._in_use += 1
        try:
            yield
        finally:
            self._in_use -= 1
            self._used_at_s = self._clock.monotonic()

    async def _ready(self) -> StdioSession:
        """The running session, started if necessary; concurrent callers share one start."""
        self._note_end()
        if self._session is not None:
            return self._session
        if self._closed:
            raise self._gone()
        if self._starting is None:
            self._refuse_too_early()
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._start_done)
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting.cancelled() and self._closed:
                raise self._gone() from None
            raise

    async def _start(self) -> StdioSession:
        started_s = self._clock.monotonic()
        try:
            await self._packages.ensure(self._launch.package)
            self._refuse_full_host()
            process = await self._containers.start(self._launch)
        except PackageRefused as error:
            problem = Problem(503, "tool-package-failed", str(error))
            raise self._note_failure(problem, []) from error
        except RuntimeFailed as error:
            raise self._note_failure(Problem(503, "runtime-failed", str(error)), []) from error
        except RuntimeUnavailable as error:
            raise Problem(503, "runtime-unavailable", str(error), retry_after_s=5) from error
        secrets = self.definition.environment.values()
        session = StdioSession(process, clock=self._clock, secrets=secrets)
        try:
            await session.initialize(within_s=_INITIALIZES_WITHIN_S)
        except SessionEnded as error:
            output = session.last_output
            raise self._note_failure(self._failed(str(error), output), output) from error
        except BaseException:
            await session.end("its start was given up")
            raise
        self._session = session
        self._running_since = self._clock.now()
        log.info(
            "tool server started",
            user_id=self._launch.user_id,
            package=str(self._launch.package),
            ms=round((self._clock.monotonic() - started_s) * 1000),
        )
        return session

    def _start_done(self, task: asyncio.Task[StdioSession]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # its callers, if any are left, raise it

    def _note_end(self) -> None:
        """Record the failure of a server that has ended by itself."""
        session = self._session
        if session is None or session.reason is None:
            return
        self._session = None
        output = session.last_output
        self._note_failure(self._failed(session.reason, output), output)

    def _note_failure(self, problem: Problem, last_output: list[str]) -> Problem:
        self._failure, self._last_output = problem, last_output
        # The first failure may be an accident, so the next start need not wait.
        wait_s = 0.0 if self._failures == 0 else min(_LONGEST_WAIT_S, 2.0**self._failures)
        self._failures += 1
        self._again_at_s = self._clock.monotonic() + wait_s
        log.warning(
            "tool server failed",
            user_id=self._launch.user_id,
            package=str(self._launch.package),
            code=problem.code,
            failures=self._failures,
        )
        return problem

    def _failed(self, reason: str, last_output: list[str]) -> Problem:
        return Problem(
            503,
            "tool-server-failed",
            f"{self._name} failed: {reason}. Its last output may say more. Check its arguments and "
            "its key, or use another version.",
            extra={"lastOutput": last_output},
        )

    def _refuse_too_early(self) -> None:
        """Raise a `Problem` if the server failed too recently: each failure lengthens the delay."""
        wait_s = self._again_at_s - self._clock.monotonic()
        if self._failure is not None and wait_s > 0:
            again = self._failure
            raise Problem(
                again.status,
                again.code,
                again.detail,
                retry_after_s=ceil(wait_s),
                extra=again.extra,
            )

    def _refuse_full_host(self) -> None:
        if not self._has_room():
            raise Problem(
                503,
                "host-full",
                f"There is no memory for {self._name[0].lower()}{self._name[1:]} on this host now. "
                "Try again later; more memory or fewer agents prevent it.",
                retry_after_s=30,
            )

    def _gone(self) -> Problem:
        return Problem(404, "no-such-tool-server", f"{self._name} was removed or replaced.")

    def _in_background(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
