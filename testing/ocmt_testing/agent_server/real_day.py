"""A compressed day of real agents: the sleep policy has a fake clock, the gateways the real one.

The fake clock runs at the real pace and skips hours in which nothing is due. A gateway runs its
jobs by the real clock, so each job has a time on both clocks, and `Day.meet` advances the fake
clock until both coincide. The policy gets the gateways' jobs in the day's time, without OpenClaw's
own (its nightly dreaming).
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.records.agent import Agent
from ocmt_common.agent_api import HibernationState

LEFT_OUT_AT_ONCE = timedelta(minutes=5)
_SLACK = timedelta(minutes=40)
"""An agent idle for this long must sleep, unless it works or a job is due within this time."""
_FALLS_ASLEEP_WITHIN_S = 240.0
"""Real time that a gateway may still work after a boot or an answer."""
_LIMIT_S = 480.0
ASLEEP = (HibernationState.PAUSED, HibernationState.STOPPED)


class DayClock:
    """Starts at 09:00 and runs like the real clock, plus the skipped stretches."""

    def __init__(self) -> None:
        self._ahead = datetime(2026, 11, 23, 9, 0, tzinfo=UTC) - datetime.now(UTC)
        self._left_out = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead + self._left_out

    def monotonic(self) -> float:
        return time.monotonic() + self._left_out.total_seconds()

    def leave_out(self, stretch: timedelta) -> None:
        assert stretch >= timedelta(), "the day's clock is already past the time to meet"
        self._left_out += stretch


class DayControl(OpenClawControl):
    """The real gateways, with their jobs in the day's time."""

    def __init__(self, session: aiohttp.ClientSession, due: Mapping[str, datetime]) -> None:
        super().__init__(session)
        self._due = due

    async def call(
        self,
        access: GatewayAccess,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        answer = await super().call(access, method, params, timeout_s=timeout_s)
        if method == "cron.list":
            answer["jobs"] = [
                job | {"nextRunAtMs": self._due[job["name"]].timestamp() * 1000}
                for job in answer["jobs"]
                if job["name"] in self._due and job.get("state", job).get("nextRunAtMs")
            ]
        return answer


class Day:
    """The day of one agent server, whose `parts` have this `clock` and a `DayControl`."""

    def __init__(self, parts: Parts, clock: DayClock, due: Mapping[str, datetime]) -> None:
        self._parts = parts
        self._clock = clock
        self._due = due
        self.working: set[str] = set()
        """Users whose agents have unfinished work."""
        self.looks = 0
        self.looks_asleep = 0

    def at(self, hours: float, *, day: int = 0) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC) + timedelta(days=day, hours=hours)

    async def pass_until(self, when: datetime) -> None:
        """Advance the time, a few minutes at a time, with a sweep after each.

        Gateways need real time, so all agents that may sleep, or sleep deeper, must do so before
        more time is skipped.
        """
        while (left := when - self._clock.now()) > timedelta():
            self._clock.leave_out(min(left, LEFT_OUT_AT_ONCE))
            await self._parts.hibernation.loop.sweep()
            await self._everybody_sleeps_who_can()
            for agent in self._parts.registry.all():
                self.looks += 1
                self.looks_asleep += agent.state in ASLEEP

    async def meet(self, when: datetime, *, real: datetime) -> None:
        """Skip time so that the day's `when` coincides with `real`."""
        self._clock.leave_out((when - self._clock.now()) - (real - datetime.now(UTC)))
        await self._parts.hibernation.loop.sweep()

    async def until(self, user_id: str, *states: HibernationState) -> None:
        agent = self._parts.registry.get(user_id)
        async with asyncio.timeout(_LIMIT_S):
            while agent.state not in states:  # noqa: ASYNC110 (there is no event)
                await asyncio.sleep(0.1)

    async def _everybody_sleeps_who_can(self) -> None:
        try:
            async with asyncio.timeout(_FALLS_ASLEEP_WITHIN_S):
                while self._awake_for_nothing():  # noqa: ASYNC110 (there is no event)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not asleep: {self._awake_for_nothing()}") from None

    def _awake_for_nothing(self) -> list[str]:
        now = self._clock.now()
        found = []
        for agent in self._parts.registry.all():
            job = self._due.get(agent.user_id)
            near = job is not None and abs(job - now) < _SLACK
            if agent.state is HibernationState.PAUSED:
                due = now - (agent.asleep_since or agent.state_since) >= self._stop_after(agent)
            else:
                idle = now - agent.last_activity_at > _SLACK
                due = agent.state not in ASLEEP and idle and not near
            if due and agent.user_id not in self.working:
                found.append(f"{agent.user_id} at {now:%H:%M} because {agent.blockers}")
        return found

    def _stop_after(self, agent: Agent) -> timedelta:
        usual = timedelta(milliseconds=self._parts.settings.stop_after_ms)
        return agent.wishes.stop_after or usual
